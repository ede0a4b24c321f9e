// Before the chart goes: stores what waits in every spool, removes what the operator has made, and leaves the AgentAccess
// objects, the public keys and the evidence. The chart's pre-delete hook runs it.
import { AppsV1Api, CoordinationV1Api, KubeConfig, PatchStrategy, setHeaderOptions, type KubernetesObject } from '@kubernetes/client-node'
import { destination, pino } from 'pino'
import { CA_SECRET, keptAuthority, operatorCertificate } from './authority.ts'
import { Cluster, explain, isStatus } from './cluster.ts'
import { OWNED, type StoredAccess } from './desired/names.ts'
import { tokenReviewBinding } from './desired/rights.ts'
import { FOR_AGENTS } from './desired/settings-secret.ts'
import { OPERATOR_LEASE } from './leader-election.ts'
import { ProxyStates } from './proxy-states.ts'
import { Reconciler } from './reconcile.ts'
import { readSettings } from './settings.ts'
import type { Condition, Status } from './status.ts'
import { Watches } from './watch.ts'

const DEPLOYMENT = 'agentaccess-operator'
const AGAIN_MS = 1000
/** In each namespace with an access, but what holds the claims, which is drained first. */
const MADE: readonly [apiVersion: string, kind: string][] = [
  ['apps/v1', 'StatefulSet'],
  ['batch/v1', 'Job'],
  ['v1', 'Service'],
  ['v1', 'Secret'],
  ['v1', 'ConfigMap'],
  ['v1', 'ServiceAccount'],
  ['policy/v1', 'PodDisruptionBudget'],
  ['networking.k8s.io/v1', 'NetworkPolicy'],
  ['rbac.authorization.k8s.io/v1', 'RoleBinding'],
  ['rbac.authorization.k8s.io/v1', 'Role'],
]

const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 1, sync: true }))

/** Runs until nothing is left to do; what can't be reached now is tried again. @throws where the settings can't be read */
export async function uninstall(settingsFile: string): Promise<void> {
  const settings = readSettings(settingsFile, process.env)
  const config = new KubeConfig()
  config.loadFromCluster()
  const cluster = new Cluster(config)
  await stopOperator(config, settings.namespace)
  const authority = await keptAuthority(cluster, settings.namespace)
  const watches = new Watches({
    cluster,
    namespaces: settings.watchNamespaces,
    changed: () => {},
    failed: (what, error) => log.warn({}, `${what}: ${explain(error)}`),
  })
  await watches.start()
  const states = new ProxyStates(watches, authority.certificate, operatorCertificate(authority))
  const reconciler = new Reconciler({ cluster, watches, settings, authority, states })
  for (const namespace of watches.namespaces()) {
    log.info({ namespace }, 'storing what waits in the spools')
    await untilDone(() => reconciler.withdraw(namespace))
    for (const [apiVersion, kind] of MADE) await deleteAll(cluster, apiVersion, kind, namespace, OWNED)
    for (const access of watches.accesses(namespace)) await cluster.patchStatus(access, uninstalled(access))
    log.info({ namespace }, 'removed')
  }
  for (const namespace of settings.watchNamespaces.length > 0 ? settings.watchNamespaces : [undefined]) {
    await deleteAll(cluster, 'rbac.authorization.k8s.io/v1', 'RoleBinding', namespace, OWNED)
    await deleteAll(cluster, 'v1', 'ConfigMap', namespace, FOR_AGENTS)
  }
  if (settings.tokenReview) await cluster.delete(tokenReviewBinding([]))
  await cluster.delete({ apiVersion: 'v1', kind: 'Secret', metadata: { name: CA_SECRET, namespace: settings.namespace } })
  await watches.stop()
}

function uninstalled({ metadata: { generation } }: StoredAccess): Pick<Status, 'activeSessions' | 'conditions'> {
  const message = 'AgentAccess has been uninstalled from this cluster: nothing listens'
  const lastTransitionTime = new Date().toISOString()
  const condition = (type: Condition['type']): Condition => ({
    type,
    status: 'False',
    reason: 'Uninstalled',
    message,
    lastTransitionTime,
    observedGeneration: generation,
  })
  return { activeSessions: 0, conditions: [condition('Ready'), condition('TargetReachable'), condition('Recording')] }
}

async function untilDone(step: () => Promise<'done' | 'again'>): Promise<void> {
  for (;;) {
    try {
      if ((await step()) === 'done') return
    } catch (error) {
      log.warn({}, explain(error))
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
  }
}

async function deleteAll(cluster: Cluster, apiVersion: string, kind: string, namespace: string | undefined, labels: Record<string, string>): Promise<void> {
  for (const object of await cluster.list<KubernetesObject>(apiVersion, kind, namespace, labels)) await cluster.delete(object)
}

/** It would make anew what is removed here. */
async function stopOperator(config: KubeConfig, namespace: string): Promise<void> {
  const apps = config.makeApiClient(AppsV1Api)
  const leases = config.makeApiClient(CoordinationV1Api)
  try {
    await apps.patchNamespacedDeploymentScale(
      { name: DEPLOYMENT, namespace, body: { spec: { replicas: 0 } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    )
  } catch (error) {
    if (!isStatus(error, 404)) throw error
  }
  await untilDone(async () => {
    const lease = await leases.readNamespacedLease({ name: OPERATOR_LEASE, namespace }).catch((error: unknown) => {
      if (isStatus(error, 404)) return undefined
      throw error
    })
    const { holderIdentity, renewTime, leaseDurationSeconds = 0 } = lease?.spec ?? {}
    const held = holderIdentity && renewTime && Date.now() - new Date(renewTime).getTime() < leaseDurationSeconds * 1000
    return held ? 'again' : 'done'
  })
}
