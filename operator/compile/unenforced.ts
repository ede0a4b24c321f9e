// What the API has and this version can't enforce yet. It is refused by name: a field that is accepted and ignored is worse
// than one that is missing.
import { fieldError, type AgentAccess, type FieldError } from '@agentaccess/crds'

/** What can be enforced only where there is something to enforce it with. */
export type Ability = 'serviceAccount' | 'retention' | 'service' | 'isolate'

interface Unenforced {
  name: string
  /** Enforced where this is there. */
  needs?: Ability
  /** Where the field is used; undefined where it is not. */
  find: (access: AgentAccess) => (string | number)[] | undefined
  /** What to do instead. */
  instead: string
}

const firstIndex = (list: readonly unknown[], test: (item: never) => boolean): number | undefined => {
  const at = list.findIndex(test as (item: unknown) => boolean)
  return at === -1 ? undefined : at
}

type Agent = AgentAccess['spec']['agents'][number]
type Rule = NonNullable<AgentAccess['spec']['policy']['rules']>[number]

const agentField = (field: keyof Agent) => (access: AgentAccess) => {
  const at = firstIndex(access.spec.agents, (agent: Agent) => agent[field] !== undefined)
  return at === undefined ? undefined : ['spec', 'agents', at, field]
}

const otherTarget = (field: 'ssh' | 'http') => (access: AgentAccess) => (access.spec.target[field] === undefined ? undefined : ['spec', 'target', field])

const checks: Unenforced[] = [
  { name: 'serviceAccount', needs: 'serviceAccount', find: agentField('serviceAccount'), instead: 'use token or clientCertificate' },
  { name: 'sshPublicKeys', find: agentField('sshPublicKeys'), instead: 'use token or clientCertificate' },
  { name: 'ssh', find: otherTarget('ssh'), instead: 'postgres and kubernetes are the targets' },
  { name: 'http', find: otherTarget('http'), instead: 'postgres and kubernetes are the targets' },
  {
    name: 'serviceAccount of a Kubernetes target',
    needs: 'serviceAccount',
    find: ({ spec }) => (spec.target.kubernetes?.serviceAccount ? ['spec', 'target', 'kubernetes', 'serviceAccount'] : undefined),
    instead: 'there is no cluster to ask for its tokens: use credentials, with a kubeconfig',
  },
  {
    name: 'isolate',
    needs: 'isolate',
    find: ({ spec }) => (spec.target.postgres?.isolate ? ['spec', 'target', 'postgres', 'isolate'] : undefined),
    instead: 'keep agents from the target with a NetworkPolicy of your own',
  },
  {
    name: 'RequireApproval',
    find: ({ spec }) => {
      const at = firstIndex(spec.policy.rules ?? [], (rule: Rule) => rule.action === 'RequireApproval')
      return at === undefined ? undefined : ['spec', 'policy', 'rules', at, 'action']
    },
    instead: 'use Deny',
  },
  { name: 'window', find: ({ spec }) => (spec.policy.window ? ['spec', 'policy', 'window'] : undefined), instead: 'write a rule over now' },
  {
    name: 'limits',
    find: ({ spec }) => (spec.policy.limits ? ['spec', 'policy', 'limits'] : undefined),
    instead: 'write a rule over session.rows or session.commands',
  },
  {
    name: 'results: Full',
    find: ({ spec }) => (spec.recording.results === 'Full' && !spec.target.kubernetes ? ['spec', 'recording', 'results'] : undefined),
    instead: 'use Summary',
  },
  {
    name: 'outputCap',
    find: ({ spec }) => (spec.recording.outputCap === '1Mi' || spec.target.kubernetes ? undefined : ['spec', 'recording', 'outputCap']),
    instead: 'leave it out: of a database no output is recorded',
  },
  {
    name: 'onFailure: Continue',
    find: ({ spec }) => (spec.recording.onFailure === 'Continue' ? ['spec', 'recording', 'onFailure'] : undefined),
    instead: 'use Block',
  },
  {
    name: 'retention',
    needs: 'retention',
    find: ({ spec }) => (spec.recording.retention ? ['spec', 'recording', 'retention'] : undefined),
    instead: 'a directory can not lock its objects: leave it out',
  },
  {
    name: 'service',
    needs: 'service',
    find: ({ spec }) => (spec.service ? ['spec', 'service'] : undefined),
    instead: 'there is no Service without a cluster: leave it out',
  },
]

export function findUnenforced(access: AgentAccess, abilities: readonly Ability[]): FieldError[] {
  return checks.flatMap(({ name, needs, find, instead }) => {
    const path = needs !== undefined && abilities.includes(needs) ? undefined : find(access)
    return path ? [fieldError(path, `Forbidden: ${name} is not enforced by this version; ${instead}`)] : []
  })
}
