// Records a command or statement, then decides on it. What a person decides on is recorded once, and asked for until they have.
import { targetOf } from '../../config.ts'
import type { Decision } from '../../decide/policy.ts'
import type { Session, Understood } from '../../session.ts'
import { builtInDeny } from './built-in-denies.ts'
import { CommandRun } from './command-run.ts'
import { cannotRecord, type Refusal } from './refusals.ts'
import type { Analysis } from './sql/facts.ts'

/** A command that is recorded and waits for its decision. */
interface Waiting {
  text: string
  command: number
  decision: Decision | undefined
  promise: Promise<void>
}

export class Judge {
  readonly #session: Session
  /** The role that the proxy has logged in as; the access may have another one by now. */
  readonly #role: string
  #waiting: Waiting | undefined

  constructor(session: Session, role: string) {
    this.#session = session
    this.#role = role
  }

  /** Resolves when the decision that holds a message is there; undefined where none is waited for. */
  get waiting(): Promise<void> | undefined {
    return this.#waiting?.decision === undefined ? this.#waiting?.promise : undefined
  }

  /**
   * Records and decides. `ignored`: the target will not run it, since its pipeline has failed. `hold`: a person decides; the same message comes again once they have,
   * and is not recorded twice. A command that can't be recorded is refused without a record: that is what can't be done.
   */
  judge(
    kind: 'command' | 'statement',
    analysis: Analysis,
    text: string,
    attributes: () => string,
    ignored: boolean,
    parameters?: () => readonly string[],
  ): { command: number; decision: Decision | { blocked: string } } | 'hold' {
    if (this.#waiting && this.#waiting.text === text) {
      const { command, decision } = this.#waiting
      if (!decision) return 'hold'
      this.#waiting = undefined
      return { command, decision }
    }
    // What waited was refused for another reason since, its length perhaps: a decision is for one command only.
    this.abandon()
    const { record } = this.#session
    const blocked = this.#session.blocked()
    if (blocked !== undefined) {
      this.#session.refusedUnrecorded(blocked)
      return { command: 0, decision: { blocked } }
    }
    const command = kind === 'command' ? record.command(attributes()) : record.statement(attributes())
    // The target ignores the rest of a pipeline that has failed: there is nothing to decide.
    if (ignored) return { command, decision: { action: 'allow' } }
    const { config, policy } = this.#session.access
    const builtIn = builtInDeny(analysis, [this.#role, targetOf(config.target, 'postgres').username], policy.hasRules)
    const understood: Understood = { text, facts: analysis.facts, parameters, builtIn, unreadable: analysis.unreadable }
    const decision = this.#session.decide(command, understood)
    if (!(decision instanceof Promise)) return { command, decision }
    const waiting: Waiting = { text, command, decision: undefined, promise: Promise.resolve() }
    waiting.promise = decision.then((made) => {
      waiting.decision = made
    })
    this.#waiting = waiting
    return 'hold'
  }

  /** The session is over: what still waited for its decision, or for the message to come again, never runs. */
  abandon(): void {
    if (this.#waiting) new CommandRun(this.#session.record, this.#waiting.command).ends('not executed')
    this.#waiting = undefined
  }

  refusalOf(decision: Decision | { blocked: string }): Refusal | undefined {
    if ('blocked' in decision) return { rule: '', response: cannotRecord(decision.blocked, this.#session.id) }
    if (decision.action !== 'deny') return undefined
    return {
      rule: decision.rule,
      response: {
        severity: 'ERROR',
        sqlstate: '42501',
        message: decision.message,
        detail: `Denied by rule ${decision.rule}.`,
        hint: `Recorded as session ${this.#session.id}.`,
      },
    }
  }
}
