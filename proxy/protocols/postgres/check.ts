// What would be decided of a statement, without a connection: the same reading, the same built-in denies, the same rules.
import { targetOf, type AccessConfig } from '../../config.ts'
import type { Facts } from '../../decide/facts.ts'
import { Policy, type Decision } from '../../decide/policy.ts'
import { Redactor } from '../../record/redactor.ts'
import { builtInDeny } from './built-in-denies.ts'
import { analyse } from './sql/analyse.ts'
import { parserReady } from './sql/parser.ts'
import { readLarge } from './sql/read-large.ts'
import { LARGE } from './statement-text.ts'

export interface CheckedCommand {
  text: string
  /** Bound values, as text. */
  parameters: readonly string[]
  agent: string
  task: string
  now: Date
}

export interface Checked {
  decision: Decision
  facts: Facts
  /** Why the text can't be read. */
  unreadable: string | undefined
}

export async function checkCommand(config: AccessConfig, { text, parameters, agent, task, now }: CheckedCommand): Promise<Checked> {
  await parserReady
  const policy = new Policy(config.policy, config.revision)
  const analysis = text.length > LARGE ? (await readLarge(text, Redactor.none)).analysis : analyse(text)
  const target = targetOf(config.target, 'postgres')
  const certificate = config.agents.find(({ name }) => name === agent)?.token === undefined
  const facts: Facts = {
    command: { ...analysis.facts, text, parameters },
    agent: { name: agent, proof: certificate ? 'client certificate' : 'shared token' },
    task,
    target: { kind: target.kind, host: target.host, port: target.port, database: target.database ?? '' },
    session: { id: '', commands: 1, denied: 0, errors: 0, rows: 0 },
    now,
  }
  const decision = policy.decide(() => facts, builtInDeny(analysis, [target.username], policy.hasRules), analysis.unreadable)
  return { decision, facts, unreadable: analysis.unreadable }
}
