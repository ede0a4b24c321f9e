// One of the operator's replicas acts; who that is, a Lease says. https://kubernetes.io/docs/concepts/architecture/leases/
import { CoordinationV1Api, V1MicroTime, type KubeConfig, type V1Lease, type V1LeaseSpec } from '@kubernetes/client-node'
import { explain, isStatus } from './cluster.ts'

export const OPERATOR_LEASE = 'agentaccess-operator'
/** Who has not renewed for so long has lost it. */
const LEASE_SECONDS = 10
const RENEW_MS = 3000
/** A leader that could not renew for so long stops acting before another one begins. */
const GIVE_UP_MS = 7000

export interface LeaderElection {
  /** Gives the Lease back, so that another takes over at once. */
  release(): Promise<void>
}

/** Calls `elected` once this one leads; `lost` when it does not any more, and then never again. */
export function electLeader(
  config: KubeConfig,
  { namespace, identity }: { namespace: string; identity: string },
  handlers: { elected: () => void; lost: () => void; failed: (message: string) => void },
): LeaderElection {
  const api = config.makeApiClient(CoordinationV1Api)
  let leading = false
  let stopped = false
  let renewedAt = 0
  let timer: NodeJS.Timeout | undefined

  const hold = async (): Promise<boolean> => {
    const lease = await read(api, namespace)
    const { holderIdentity, renewTime, leaseTransitions = 0 } = lease?.spec ?? {}
    const held = holderIdentity && renewTime && Date.now() - new Date(renewTime).getTime() < LEASE_SECONDS * 1000
    if (held && holderIdentity !== identity) return false
    const now = new V1MicroTime()
    const mine = holderIdentity === identity
    const spec: V1LeaseSpec = {
      holderIdentity: identity,
      leaseDurationSeconds: LEASE_SECONDS,
      renewTime: now,
      acquireTime: mine && lease?.spec?.acquireTime ? new V1MicroTime(lease.spec.acquireTime) : now,
      leaseTransitions: mine ? leaseTransitions : leaseTransitions + 1,
    }
    // The resource version makes it fail where somebody else was faster.
    if (lease) await api.replaceNamespacedLease({ name: OPERATOR_LEASE, namespace, body: Object.assign(lease, { spec }) })
    else await api.createNamespacedLease({ namespace, body: { metadata: { name: OPERATOR_LEASE, namespace }, spec } })
    return true
  }

  const tick = async () => {
    try {
      const holds = await hold()
      if (holds) renewedAt = Date.now()
      if (holds && !leading && !stopped) {
        leading = true
        handlers.elected()
      }
      if (!holds && leading) stopped = true
    } catch (error) {
      if (!isStatus(error, 409)) handlers.failed(`the Lease ${namespace}/${OPERATOR_LEASE} can't be renewed: ${explain(error)}`)
      if (leading && Date.now() - renewedAt > GIVE_UP_MS) stopped = true
    }
    if (stopped && leading) handlers.lost()
    if (!stopped) timer = setTimeout(() => void tick(), RENEW_MS)
  }
  void tick()

  return {
    release: async () => {
      const led = leading && !stopped
      stopped = true
      clearTimeout(timer)
      if (!led) return
      const lease = await read(api, namespace)
      if (lease?.spec?.holderIdentity !== identity) return
      delete lease.spec.holderIdentity
      await api.replaceNamespacedLease({ name: OPERATOR_LEASE, namespace, body: lease })
    },
  }
}

async function read(api: CoordinationV1Api, namespace: string): Promise<V1Lease | undefined> {
  try {
    return await api.readNamespacedLease({ name: OPERATOR_LEASE, namespace })
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  }
}
