// The proxies of a namespace: a StatefulSet, whose pods keep their spool on a volume of their own.
import { createHash } from 'node:crypto'
import type { V1PodDisruptionBudget, V1Service, V1StatefulSet } from '@kubernetes/client-node'
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
export function proxyStatefulSet(namespace: string, owners: readonly StoredAccess[], settings: ProxySettings, startup: string): V1StatefulSet {
  const { spool, graceSeconds } = settings
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: ownedMetadata(PROXY, namespace, owners, PROXY_PODS),
    spec: {
      replicas: settings.replicas,
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
          serviceAccountName: PROXY,
          terminationGracePeriodSeconds: graceSeconds + DRAIN_SECONDS,
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
          topologySpreadConstraints: [
            { maxSkew: 1, topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels: selector } },
          ],
          containers: [
            {
              name: 'proxy',
              image: settings.image,
              imagePullPolicy: settings.imagePullPolicy,
              command: ['node', '--disable-warning=ExperimentalWarning', '/app/proxy.js'],
              env: [
                { name: 'NODE_EXTRA_CA_CERTS', value: API_CA },
                { name: 'AGENTACCESS_SPOOL', value: `${SPOOL}/spool` },
                { name: 'AGENTACCESS_GRACE_SECONDS', value: String(graceSeconds) },
              ],
              ports: [
                { name: 'state', containerPort: STATE_PORT },
                { name: 'metrics', containerPort: METRICS_PORT },
              ],
              startupProbe: { httpGet: { path: '/readyz', port: 'metrics' }, periodSeconds: 1, failureThreshold: 120 },
              readinessProbe: { httpGet: { path: '/readyz', port: 'metrics' }, periodSeconds: 5 },
              livenessProbe: { httpGet: { path: '/healthz', port: 'metrics' }, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
              resources: settings.resources,
              securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
              volumeMounts: [{ name: 'spool', mountPath: SPOOL }],
            },
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
