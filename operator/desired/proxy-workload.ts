// The proxies of a namespace: a StatefulSet, whose pods keep their spool on a volume of their own.
import { createHash } from 'node:crypto'
import type { V1Job, V1PodDisruptionBudget, V1Service, V1StatefulSet } from '@kubernetes/client-node'
import { METRICS_PORT, STATE_PORT } from '@agentaccess/proxy/cluster/settings'
import type { ProxySettings } from '../settings.ts'
import { OWNED, ownedMetadata, PROXY, PROXY_PODS, type StoredAccess } from './names.ts'

const SPOOL = '/var/lib/agentaccess'
const API_CA = '/var/run/secrets/kubernetes.io/serviceaccount/ca.crt'
/** The image's own user. */
const USER = 65532
/** What a proxy takes beyond its sessions' grace: the last lines are signed and stored. */
const DRAIN_SECONDS = 40
const selector = { ...OWNED, ...PROXY_PODS }

/** `startup`: what a proxy reads only when it starts; a change of it replaces the pods, one after the other. */
export function proxyStatefulSet(
  namespace: string,
  owners: readonly StoredAccess[],
  settings: ProxySettings,
  startup: string,
  replicas: number,
): V1StatefulSet {
  const { spool, graceSeconds } = settings
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(PROXY, namespace, owners, PROXY_PODS),
    spec: {
      replicas,
      serviceName: PROXY,
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: selector },
      // What waits in a spool outlives what may be deleted by mistake.
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Retain', whenScaled: 'Retain' },
      template: {
        metadata: {
          labels: selector,
          annotations: { ...settings.podAnnotations, 'agentaccess.dev/startup': createHash('sha256').update(startup).digest('hex').slice(0, 16) },
        },
        spec: {
          ...podSpec(settings, []),
          terminationGracePeriodSeconds: graceSeconds + DRAIN_SECONDS,
          topologySpreadConstraints: [
            { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels: selector } },
          ],
          ...(spool.emptyDir ? { volumes: [{ name: 'spool', emptyDir: { sizeLimit: spool.size } }] } : {}),
        },
      },
      ...(spool.emptyDir
        ? {}
        : {
            volumeClaimTemplates: [
              {
                apiVersion: 'v1',
                kind: 'PersistentVolumeClaim',
                metadata: { name: 'spool', labels: selector },
                spec: {
                  accessModes: ['ReadWriteOnce'],
                  resources: { requests: { storage: spool.size } },
                  ...(spool.storageClassName === undefined ? {} : { storageClassName: spool.storageClassName }),
                },
              },
            ],
          }),
    },
  }
}

const PROBES = {
  startupProbe: { httpGet: { path: '/readyz', port: 'metrics' }, periodSeconds: 1, failureThreshold: 120 },
  readinessProbe: { httpGet: { path: '/readyz', port: 'metrics' }, periodSeconds: 5 },
  livenessProbe: { httpGet: { path: '/healthz', port: 'metrics' }, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
}

/** What Pod Security calls restricted. `args`: of the program; none for a proxy that serves. */
function podSpec(settings: ProxySettings, args: readonly string[]) {
  return {
    serviceAccountName: PROXY,
    enableServiceLinks: false,
    imagePullSecrets: settings.imagePullSecrets,
    nodeSelector: settings.nodeSelector,
    tolerations: settings.tolerations,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    },
    containers: [
      {
        name: 'proxy',
        image: settings.image,
        imagePullPolicy: settings.imagePullPolicy,
        command: ['node', '--disable-warning=ExperimentalWarning', '/app/proxy.js', ...args],
        env: [
          { name: 'NODE_EXTRA_CA_CERTS', value: API_CA },
          { name: 'AGENTACCESS_SPOOL', value: `${SPOOL}/spool` },
          { name: 'AGENTACCESS_GRACE_SECONDS', value: String(settings.graceSeconds) },
          // glibc's: threads share one heap, and large pieces go back when they are free. It is 20 MB less for each proxy.
          { name: 'MALLOC_ARENA_MAX', value: '1' },
          { name: 'MALLOC_MMAP_THRESHOLD_', value: '262144' },
        ],
        ports: [
          { name: 'state', containerPort: STATE_PORT },
          { name: 'metrics', containerPort: METRICS_PORT },
        ],
        ...(args.length === 0 ? PROBES : {}),
        resources: settings.resources,
        securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
        volumeMounts: [{ name: 'spool', mountPath: SPOOL }],
      },
    ],
  }
}

export const drainJobName = (ordinal: number): string => `agentaccess-drain-${ordinal}`
export const spoolClaimName = (ordinal: number): string => `spool-${PROXY}-${ordinal}`

/** Stores what waits in the spool of a proxy that is not there any more. It tries until it has. */
export function drainJob(namespace: string, owners: readonly StoredAccess[], settings: ProxySettings, ordinal: number): V1Job {
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: ownedMetadata(drainJobName(ordinal), namespace, owners, { 'app.kubernetes.io/name': 'agentaccess-drain' }),
    spec: {
      backoffLimit: 1_000_000,
      template: {
        metadata: { labels: { ...OWNED, 'app.kubernetes.io/name': 'agentaccess-drain' } },
        spec: {
          ...podSpec(settings, ['drain']),
          restartPolicy: 'OnFailure',
          volumes: [{ name: 'spool', persistentVolumeClaim: { claimName: spoolClaimName(ordinal) } }],
        },
      },
    },
  }
}

/** Names for the pods; also of those that are not ready, whose state the operator wants to know most. */
export function headlessService(namespace: string, owners: readonly StoredAccess[]): V1Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: ownedMetadata(PROXY, namespace, owners, PROXY_PODS),
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector,
      ports: [
        { name: 'state', port: STATE_PORT },
        { name: 'metrics', port: METRICS_PORT },
      ],
    },
  }
}

export function disruptionBudget(namespace: string, owners: readonly StoredAccess[]): V1PodDisruptionBudget {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: ownedMetadata(PROXY, namespace, owners, PROXY_PODS),
    spec: { maxUnavailable: 1, selector: { matchLabels: selector } },
  }
}
