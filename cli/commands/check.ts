// check: what the policy says of a command, and by which rule; or whether it says what its tests expect.
import { accessKey, type AccessConfig } from '@agentaccess/proxy'
import { checkCommand, type Checked, type CheckedCommand } from '@agentaccess/proxy/check'
import { noResource } from '@agentaccess/proxy/decide'
import type { AgentAccess } from '@agentaccess/crds'
import { loadPolicies, UsageError, type LoadedPolicy } from '../manifests.ts'
import { printable, table } from '../printable.ts'

export interface CheckOptions {
  file: string[]
  sql?: string
  parameter: string[]
  access?: string
  agent?: string
  task: string
  now?: string
  output: 'text' | 'json'
}

export async function check(options: CheckOptions): Promise<void> {
  const policies = chosen(loadPolicies(options.file), options.access)
  if (options.sql === undefined) await runTests(policies)
  else if (policies.length > 1)
    throw new UsageError(`there are several accesses: choose one with --access ${policies.map(({ config }) => accessKey(config)).join(' or ')}`)
  else await tell(policies[0]!.config, options.sql, options)
}

function chosen(policies: LoadedPolicy[], access: string | undefined): LoadedPolicy[] {
  if (access === undefined) return policies
  const found = policies.filter(({ config }) => accessKey(config) === access || config.name === access)
  if (found.length > 0) return found
  throw new UsageError(`--access ${access}: there is ${policies.map(({ config }) => accessKey(config)).join(', ')}`)
}

async function tell(config: AccessConfig, sql: string, { parameter, agent, task, now, output }: CheckOptions): Promise<void> {
  if (config.target.kind !== 'postgres') throw new UsageError(`--sql: the target of ${accessKey(config)} is ${config.target.kind}, which knows no SQL`)
  const checked = await checkCommand(config, commandOf(config, { sql, parameters: parameter, agent, task, now }))
  const { decision, facts, unreadable } = checked
  if (output === 'json') {
    console.log(JSON.stringify({ decision, ...(unreadable === undefined ? {} : { unreadable }), ...facts }))
    return
  }
  const variables = Object.entries(facts).flatMap(([name, value]: [string, unknown]) =>
    typeof value === 'object' && value !== null && !(value instanceof Date)
      ? // A statement is about no resource.
        Object.entries(value).flatMap(([field, item]) => (name === 'command' && field in noResource ? [] : [[`${name}.${field}`, JSON.stringify(item)]]))
      : [[name, JSON.stringify(value)]],
  )
  const rows = [
    ['decision', decision.action],
    ['rule', ruleOf(checked) ?? '-'],
    ...('message' in decision && decision.message !== undefined ? [['message', decision.message]] : []),
    ...(unreadable === undefined ? [] : [['unreadable', unreadable]]),
    ...variables,
  ]
  console.log(table(rows.map((row) => row.map((cell) => printable(cell)))))
}

async function runTests(policies: LoadedPolicy[]): Promise<void> {
  let [ran, failed] = [0, 0]
  for (const { config, access } of policies) {
    if (config.target.kind !== 'postgres' && (access.spec.policy.tests ?? []).length > 0)
      throw new UsageError(`spec.policy.tests of ${accessKey(config)}: they are of SQL, and its target is ${config.target.kind}`)
    for (const test of access.spec.policy.tests ?? []) {
      const checked = await checkCommand(config, commandOf(config, test))
      const wrong = disagreement(test, checked)
      ran++
      if (wrong !== undefined) failed++
      console.log(
        `${wrong === undefined ? 'ok    ' : 'FAILED'}  ${accessKey(config)}  ${printable(test.sql)}${wrong === undefined ? '' : `\n        ${printable(wrong)}`}`,
      )
    }
  }
  if (ran === 0) throw new UsageError('there is nothing to check: give --sql TEXT, or write spec.policy.tests')
  console.log(`${ran - failed} of ${ran} as expected`)
  if (failed > 0) process.exitCode = 1
}

type PolicyTest = NonNullable<AgentAccess['spec']['policy']['tests']>[number]

function disagreement({ expect, rule }: PolicyTest, checked: Checked): string | undefined {
  const { action } = checked.decision
  const by = ruleOf(checked)
  if (action === expect.toLowerCase() && (rule === undefined || rule === by)) return undefined
  return `expected ${expect}${rule === undefined ? '' : ` by ${rule}`}, got ${action}${by === undefined ? '' : ` by ${by}`}${checked.unreadable === undefined ? '' : ` (${checked.unreadable})`}`
}

const ruleOf = ({ decision }: Checked): string | undefined => ('rule' in decision ? decision.rule : undefined)

interface Asked {
  sql: string
  parameters?: readonly string[] | undefined
  agent?: string | undefined
  task?: string | undefined
  now?: string | undefined
}

function commandOf(config: AccessConfig, { sql, parameters = [], agent = config.agents[0]!.name, task = '', now }: Asked): CheckedCommand {
  if (!config.agents.some(({ name }) => name === agent))
    throw new UsageError(`${accessKey(config)} has no agent ${agent}: there is ${config.agents.map(({ name }) => name).join(', ')}`)
  const at = now === undefined ? new Date() : new Date(now)
  if (Number.isNaN(at.getTime())) throw new UsageError(`--now ${now}: expected a time such as 2026-01-31T12:00:00Z`)
  return { text: sql, parameters, agent, task, now: at }
}
