// What becomes of a message that is refused, and of those behind it.
//
// What is denied must fail at the target too, or what belonged together would half happen: in its place goes an Execute of
// a portal that does not exist, which makes the target fail and abort the pipeline or transaction.
import { randomBytes } from 'node:crypto'
import type { Session } from '../../session.ts'
import { CommandRun } from './command-run.ts'
import type { Pipeline } from './pipeline.ts'
import type { Refusal } from './refusals.ts'
import { code, cstrings, errorResponse, message, type PostgresError } from './wire.ts'

/** `before` goes to the target ahead of the message; `drop`: the message itself does not go. */
export interface Verdict {
  before?: Buffer
  drop?: boolean
}

export const PASS: Verdict = {}
export const DROP: Verdict = { drop: true }
const syncMessage = message('S')
/** Messages that are answered by ReadyForQuery without a Sync. */
const WITHOUT_SYNC: ReadonlySet<number> = new Set([code('Q'), code('F')])

export class Denials {
  readonly #pipeline: Pipeline
  readonly #session: Session
  /** Something was denied: the rest, up to the Sync, is not forwarded; the target would ignore it. */
  discarding = false

  constructor(pipeline: Pipeline, session: Session) {
    this.#pipeline = pipeline
    this.#session = session
  }

  /** A message above `maxCommandBytes`: recorded by its size, denied. */
  tooLarge(type: number, length: number): Verdict {
    const max = this.#session.access.config.recording.maxCommandBytes
    const { record } = this.#session
    const command = record.command({ 'agentaccess.message': String.fromCharCode(type), 'agentaccess.command.bytes': length })
    const text = `the command has ${length} bytes, and at most ${max} are let through`
    record.decision(command, { action: 'deny', rule: 'built-in/max-command-bytes', message: text, revision: this.#session.access.policy.revision })
    const run = new CommandRun(record, command)
    run.denied('built-in/max-command-bytes', '54000')
    return this.refuse(
      { severity: 'ERROR', sqlstate: '54000', message: text, hint: `spec.recording.maxCommandBytes sets the limit. Session ${this.#session.id}.` },
      WITHOUT_SYNC.has(type),
    )
  }

  deny(run: CommandRun, { rule, response }: Refusal, simple: boolean): Verdict {
    // Number 0: what could not be recorded has no result either.
    if (run.command > 0) run.denied(rule, response.sqlstate)
    return this.refuse(response, simple)
  }

  /** In place of the message: an Execute that fails. `simple`: the agent waits for ReadyForQuery without a Sync. */
  refuse(response: PostgresError, simple: boolean): Verdict {
    if (this.discarding) return DROP
    // New each time: an agent that knew it could declare a cursor of that name.
    const failing = message('E', Buffer.concat([cstrings(randomBytes(16).toString('hex')), Buffer.alloc(4)]))
    this.#pipeline.push({ kind: 'denied', ours: true, response: errorResponse(response) })
    if (!simple) {
      this.discarding = true
      return { before: failing, drop: true }
    }
    this.sync()
    return { before: Buffer.concat([failing, syncMessage]), drop: true }
  }

  /** The target would have ignored it, and so it is not forwarded. */
  skipped(run: CommandRun): Verdict {
    run.ends('skipped')
    return DROP
  }

  sync(): Verdict {
    this.discarding = false
    this.#pipeline.push({ kind: 'sync', ours: false })
    this.#pipeline.segment++
    if (this.#pipeline.renamedSinceSync) this.#pipeline.epoch++
    this.#pipeline.renamedSinceSync = false
    return PASS
  }
}
