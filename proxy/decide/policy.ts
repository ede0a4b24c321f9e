// Decides on a command: built-in denies first, then the access's rules, first match wins.
import type { PolicyConfig } from '../config.ts'
import type { Facts } from './facts.ts'
import { celFacts, compileRule, type CompiledRule } from './cel.ts'

export type Decision = { action: 'allow' } | { action: 'alert'; rule: string; message?: string } | { action: 'deny'; rule: string; message: string }

const allow: Decision = { action: 'allow' }

/** A built-in deny, found by the protocol: it comes before every rule of the user. */
export interface BuiltInDeny {
  rule: `built-in/${string}`
  message: string
}

export class Policy {
  readonly revision: string
  /** Whether commands of one session with the same operations are decided alike, where they can be read and no built-in deny holds. */
  readonly stable: boolean
  readonly #default: PolicyConfig['default']
  readonly #rules: CompiledRule[]

  /** @throws where a `when` does not compile, naming the rule. */
  constructor(config: PolicyConfig, revision: string) {
    this.revision = revision
    this.#default = config.default
    this.#rules = config.rules.map(compileRule)
    this.stable = this.#rules.every((rule) => rule.stable)
  }

  /** Whether a command must be understood to be judged. */
  get hasRules(): boolean {
    return this.#rules.length > 0
  }

  /** `unreadable`: why the command can't be understood; denied where there are rules that it might be hiding from. */
  decide(facts: () => Facts, builtIn: BuiltInDeny | undefined, unreadable: string | undefined): Decision {
    if (builtIn) return { action: 'deny', ...builtIn }
    if (!this.hasRules) return this.#default === 'Allow' ? allow : byDefault
    if (unreadable !== undefined)
      return { action: 'deny', rule: 'built-in/unreadable', message: `rules are in force here and the command can't be read: ${unreadable}` }
    const seen = celFacts(facts())
    for (const rule of this.#rules) {
      const matched = rule.matches(seen)
      if (matched === false) continue
      const { name, action, message } = rule.config
      if (matched !== true) return { action: 'deny', rule: name, message: `rule ${name} failed: ${matched.error}` }
      switch (action) {
        case 'Allow':
          return allow
        case 'Alert':
          return { action: 'alert', rule: name, ...(message === undefined ? {} : { message }) }
        case 'Deny':
          return { action: 'deny', rule: name, message: message ?? `denied by rule ${name}` }
      }
    }
    return this.#default === 'Allow' ? allow : byDefault
  }
}

const byDefault: Decision = { action: 'deny', rule: 'default', message: 'no rule allows this command, and the default is Deny' }
