// What would let an agent reach or alter the recorder: denied before any rule.
import type { BuiltInDeny } from '../../decide/policy.ts'
import { commandVerb, type RequestInfo } from './request-info.ts'

const READS: ReadonlySet<string> = new Set(['get', 'list', 'watch'])
/** How the operator calls what it makes in a namespace: operator/desired/names.ts. */
const OURS = /^(?:agentaccess-|spool-agentaccess-)|-agentaccess$|\.agentaccess\.dev$/
/** The controller's for a Service of ours, by its own naming. */
const OUR_SLICE = /-agentaccess-[^-]+$/
/** Into these of its pods nobody may. */
const INTO_PODS: ReadonlySet<string> = new Set(['exec', 'attach', 'portforward', 'proxy', 'debug'])
/** What a kubelet tells of itself. Everything else of it can run commands in any pod of its node. */
const OF_KUBELET = /^(?:metrics|stats|healthz)(?:\/|$)/
/** Kinds of what the operator makes. */
const KINDS: ReadonlySet<string> = new Set([
  'pods',
  'secrets',
  'services',
  'endpoints',
  'endpointslices',
  'configmaps',
  'serviceaccounts',
  'persistentvolumeclaims',
  'statefulsets',
  'jobs',
  'roles',
  'rolebindings',
  'networkpolicies',
  'poddisruptionbudgets',
])
/** With it, a list leaves out what the operator made. */
const WITHOUT_OURS = 'app.kubernetes.io/managed-by!=agentaccess-operator'

/** `named`: the body names what only the recorder uses. */
export function builtInDeny(info: RequestInfo, query: URLSearchParams, named: boolean): BuiltInDeny | undefined {
  const why = recorderIn(info, query, named)
  return why === undefined ? undefined : { rule: 'built-in/recorder', message: why }
}

function recorderIn(info: RequestInfo, query: URLSearchParams, named: boolean): string | undefined {
  const { group, resource, subresource, rest, name } = info
  const verb = commandVerb(info)
  if (group === 'agentaccess.dev' && !READS.has(verb)) return 'what is recorded, and how, is not for agents to change'
  const ours = OURS.test(baseName(name))
  if (ours && INTO_PODS.has(verb)) return 'nobody enters a recording proxy'
  if (ours && subresource === 'token') return 'tokens of the recorder are not for agents'
  // By any subresource: to scale it to nothing is a change, too.
  if (ours && !READS.has(verb)) return "the recorder's own objects are not for agents to change"
  // Whoever says where a Service leads could lead agents past the recorder.
  if (resource === 'endpointslices' && !READS.has(verb) && (named || OUR_SLICE.test(name)))
    return 'where a Service of the recorder leads is not for agents to change'
  // A pod with the recorder's Secret or volume is as good as the Secret; who may do what may still be asked.
  if (named && group !== 'authorization.k8s.io')
    return "the body names what is the recorder's: its Secrets, volumes and ServiceAccount are not for agents to use"
  if (verb === 'deletecollection' && KINDS.has(resource) && !leavesOursOut(query))
    return `all ${resource} at once could have the recorder's among them: delete by name, or with -l '${WITHOUT_OURS}'`
  if (group !== '') return undefined
  switch (resource) {
    case 'nodes':
      return verb === 'proxy' && !OF_KUBELET.test(rest)
        ? 'a kubelet would let agents into the recorder: of nodes/proxy only metrics, stats and healthz are let through'
        : undefined
    case 'secrets':
      if (ours) return 'Secrets of the recorder are not for agents'
      // A list has the values of all.
      return name === '' && READS.has(verb) && !leavesOursOut(query)
        ? `a list of Secrets could have those of the recorder: ask by name, or with -l '${WITHOUT_OURS}'`
        : undefined
    default:
      return undefined
  }
}

/** Of `https:name:port`, as the API server takes it where a request goes on to a pod, Service or node. */
const baseName = (name: string): string => name.replace(/^https?:/, '').replace(/:[^:]*$/, '')

/** A set in parentheses has commas that part no terms. */
const leavesOursOut = (query: URLSearchParams): boolean =>
  query.getAll('labelSelector').length === 1 &&
  !query.get('labelSelector')!.includes('(') &&
  query
    .get('labelSelector')!
    .split(',')
    .some((term) => term.replaceAll(' ', '') === WITHOUT_OURS)
