// The status of an access, from what its compilation and the proxies say. Pure.
import type { AccessConfig } from '@agentaccess/proxy/config'
import { servicePort } from './desired/access-objects.ts'
import { serviceName, type StoredAccess } from './desired/names.ts'
import type { AskedProxy } from './proxy-states.ts'

export interface Condition {
  type: 'Ready' | 'TargetReachable' | 'Recording' | 'Isolated'
  status: 'True' | 'False' | 'Unknown'
  reason: string
  message: string
  lastTransitionTime: string
  observedGeneration: number
}

export interface Status {
  observedGeneration: number
  endpoint: string
  target: string
  agents: string
  activeSessions: number
  lastSessionTime?: string
  conditions: Condition[]
}

/** What became of an access's specification. */
export type Outcome = { config: AccessConfig } | { errors: string[] }

export type Verdict = Pick<Condition, 'status' | 'reason' | 'message'>

const NEARLY_FULL = 0.8

export interface StatusInput {
  access: StoredAccess
  outcome: Outcome
  proxies: readonly AskedProxy[]
  /** Whether the spool is gone with its pod. */
  spoolIsDurable: boolean
  /** Where the access asks for isolation. */
  isolated?: Verdict | undefined
  now: Date
}

export function statusOf({ access, outcome, proxies, spoolIsDurable, isolated, now }: StatusInput): Status {
  const { name, namespace, generation } = access.metadata
  const key = `${namespace}/${name}`
  const own = proxies.flatMap(({ state }) => state?.accesses.filter(({ access: of }) => of === key) ?? [])
  const target = targetReachable(key, outcome, proxies)
  const recording = recorded(own, proxies, spoolIsDurable)
  const listening = proxies.filter(({ ready, state }) => ready && state?.accesses.some(({ access: of }) => of === key)).length
  const ready = readiness(access, outcome, listening, proxies, target, recording)
  const before = previousConditions(access)
  const conditions = Object.entries({ Ready: ready, TargetReachable: target, Recording: recording, ...(isolated ? { Isolated: isolated } : {}) }).map(
    ([type, { status, reason, message }]): Condition => {
      const known = before.find((condition) => condition.type === type)
      const lastTransitionTime = known?.status === status ? known.lastTransitionTime : now.toISOString()
      return { type: type as Condition['type'], status, reason, message, lastTransitionTime, observedGeneration: generation }
    },
  )
  const times = own.flatMap(({ lastSessionTime }) => lastSessionTime ?? []).concat(access.status?.lastSessionTime ?? [])
  return {
    observedGeneration: generation,
    endpoint: `${serviceName(name)}.${namespace}.svc:${servicePort(access)}`,
    target: targetText(access),
    agents: access.spec.agents.map((agent) => agent.name).join(', '),
    activeSessions: own.reduce((sum, { activeSessions }) => sum + activeSessions, 0),
    ...(times.length > 0 ? { lastSessionTime: times.toSorted().at(-1)! } : {}),
    conditions,
  }
}

/** For people. */
function targetText({ spec: { target } }: StoredAccess): string {
  const { postgres, kubernetes } = target
  if (postgres) return `postgres://${postgres.host}:${postgres.port}${postgres.database === undefined ? '' : `/${postgres.database}`}`
  if (!kubernetes) return ''
  return `kubernetes: ${kubernetes.serviceAccount ? `this cluster, as ServiceAccount ${kubernetes.serviceAccount.name}` : (kubernetes.server ?? `by Secret ${kubernetes.credentials!.secretRef.name}`)}`
}

const previousConditions = ({ status }: StoredAccess): Condition[] => (status?.conditions ?? []) as Condition[]

const isTrue = (reason: string, message: string): Verdict => ({ status: 'True', reason, message })
const isFalse = (reason: string, message: string): Verdict => ({ status: 'False', reason, message })
const unknown = (reason: string, message: string): Verdict => ({ status: 'Unknown', reason, message })

function readiness(access: StoredAccess, outcome: Outcome, listening: number, proxies: readonly AskedProxy[], target: Verdict, recording: Verdict): Verdict {
  if ('errors' in outcome) {
    const missing = outcome.errors.every((error) => error.includes('Not found: Secret'))
    return isFalse(missing ? 'SecretMissing' : 'Invalid', `closed until this is mended: ${outcome.errors.join('; ')}`)
  }
  if (access.spec.suspended) return isFalse('Suspended', 'spec.suspended is true: no session begins')
  if (proxies.length === 0) return isFalse('NoProxy', 'no pod of the proxies is there yet')
  if (listening === 0)
    return isFalse(
      'NotListening',
      `no proxy listens for it yet: ${proxies.map(({ pod, state }) => `${pod} ${state ? 'is not ready, or has not taken it' : 'does not answer'}`).join(', ')}`,
    )
  if (target.status === 'False') return isFalse(`Target${target.reason}`, target.message)
  if (recording.status === 'False' && recording.reason === BLOCKED) return isFalse(recording.reason, recording.message)
  return isTrue('Listening', `${listening} of ${proxies.length} proxies listen`)
}

function targetReachable(key: string, outcome: Outcome, proxies: readonly AskedProxy[]): Verdict {
  if ('errors' in outcome) return unknown('NotTried', 'the access is closed')
  const results = proxies.flatMap(({ pod, state }) => (state?.targets[key] === undefined ? [] : [{ pod, result: state.targets[key] }]))
  for (const { pod, result } of results) if (typeof result === 'object') return isFalse(result.reason, `${result.message} (tried by ${pod})`)
  return results.length > 0 ? isTrue('LoggedIn', 'the proxies have logged in to the target') : unknown('NotTried', 'no proxy has tried it yet')
}

const BLOCKED = 'Blocked'

function recorded(
  own: readonly { blocked?: string; waitingBytes: number; spoolQuota: number }[],
  proxies: readonly AskedProxy[],
  spoolIsDurable: boolean,
): Verdict {
  const blocked = own.find((state) => state.blocked !== undefined)?.blocked
  if (blocked !== undefined) return isFalse(BLOCKED, `nothing is let through: ${blocked}`)
  for (const { pod, state } of proxies)
    if (typeof state?.storing === 'string') return isFalse('NotStored', `${pod}: ${state.storing}. Sessions go on; what they do waits in the spool`)
  const full = own.find(({ waitingBytes, spoolQuota }) => waitingBytes > spoolQuota * NEARLY_FULL)
  if (full)
    return isFalse(
      'SpoolNearlyFull',
      `${full.waitingBytes} of ${full.spoolQuota} bytes of the spool wait to be stored; at the quota nothing more is let through`,
    )
  if (!proxies.some(({ state }) => state?.storing === true)) return unknown('NotStoredYet', 'nothing has been stored yet')
  return spoolIsDurable
    ? isTrue('Stored', 'what is recorded is stored')
    : isTrue('SpoolNotDurable', 'what is recorded is stored; what waits in the spool is lost with its pod (proxy.spool.emptyDir)')
}

/** Whether something changed but the time at which it did. */
export function differs(access: StoredAccess, status: Status): boolean {
  return JSON.stringify(comparable(access.status as Status | undefined)) !== JSON.stringify(comparable(status))
}

function comparable(status: Status | undefined): unknown {
  if (!status) return undefined
  const { observedGeneration, endpoint, target, agents, activeSessions, lastSessionTime, conditions } = status
  const plain = conditions.map(({ type, status: is, reason, message, observedGeneration: seen }) => [type, is, reason, message, seen])
  return [observedGeneration, endpoint, target, agents, activeSessions, lastSessionTime === undefined ? '' : new Date(lastSessionTime).getTime(), plain]
}
