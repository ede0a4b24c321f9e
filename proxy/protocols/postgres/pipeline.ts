// What was forwarded and is not answered yet, in order. Both streams of a session share it: the client's adds, the target's
// takes away.
import type { SessionRecord } from '../../record/session-record.ts'
import type { CommandRun } from './command-run.ts'
import { Names, type Portal, type Settles, type Statement } from './names.ts'

/** A forwarded message that will be answered. `ours`: the proxy put it in, and the client must not see the answer. */
export type Expected =
  | { kind: 'parse'; ours: boolean; settles?: Settles<Statement>; run?: CommandRun; statement?: Statement }
  | { kind: 'bind'; ours: false; settles: Settles<Portal>; run: CommandRun }
  | { kind: 'describe'; ours: false; statement: Statement | undefined }
  | { kind: 'close'; ours: boolean; settles?: Settles<Statement> | Settles<Portal> }
  | { kind: 'execute'; ours: false; run: CommandRun }
  | { kind: 'query'; ours: false; run: CommandRun }
  | { kind: 'function'; ours: false; run: CommandRun }
  /** An Execute that must fail, in place of what was denied; the client gets `response` for it. */
  | { kind: 'denied'; ours: true; response: Buffer }
  | { kind: 'sync'; ours: false }

export type TransactionStatus = 'I' | 'T' | 'E'

export class Pipeline {
  readonly record: SessionRecord
  readonly statements = new Names<Statement>()
  readonly portals = new Names<Portal>()
  readonly #expected: Expected[] = []
  #head = 0
  /** Counts the Syncs that were forwarded. */
  segment = 0
  /** Counts what was forwarded and may have changed the meaning of names. */
  epoch = 0
  /** Whether that was so since the last Sync: a deferred trigger runs at the commit. */
  renamedSinceSync = false
  /** Nothing but its data may follow this one until it is answered. */
  exclusive: Expected | undefined
  /** The command whose data the target is reading. */
  copyIn: CommandRun | undefined
  /** The target gave up reading data that the client may still be sending. */
  strayCopy = false
  /** The target ignores what comes until a Sync that has not been forwarded yet. */
  skipping = false
  transaction: TransactionStatus = 'I'
  /** What was to be prepared and was refused or skipped: up to the Sync, a Bind of such a name speaks of this. */
  readonly discarded = new Map<string, Statement>()
  /** The last command that was answered as done. */
  lastRun: CommandRun | undefined
  /** What the target said when it ended the connection on its own. */
  farewell: string | undefined

  constructor(record: SessionRecord) {
    this.record = record
  }

  get idle(): boolean {
    return this.#head === this.#expected.length
  }

  push(expected: Expected): void {
    // The target is skipping: this one will not be answered.
    if (this.skipping && expected.kind !== 'sync') this.#skip(expected)
    else this.#expected.push(expected)
    if (expected.kind !== 'sync') return
    this.skipping = false
    this.discarded.clear()
  }

  head(): Expected | undefined {
    return this.#expected[this.#head]
  }

  pop(): void {
    this.#head++
    if (this.#head > 1024 || this.#head === this.#expected.length) {
      this.#expected.splice(0, this.#head)
      this.#head = 0
    }
  }

  /** The head failed in the extended protocol: the target ignores everything up to the next Sync. */
  skipToSync(): void {
    this.pop()
    for (let next = this.head(); next && next.kind !== 'sync'; next = this.head()) {
      this.#skip(next)
      this.pop()
    }
    this.skipping = this.idle
    // Behind a Sync that has gone already, names mean what they meant.
    if (!this.skipping) this.discarded.clear()
    if (this.exclusive && this.exclusive.kind === 'execute') this.exclusive = undefined
  }

  /** A Sync that the target reads while it waits for COPY data is ignored (54.2.6). */
  dropSyncs(): void {
    const rest = this.#expected.splice(this.#head + 1).filter((expected) => expected.kind !== 'sync')
    this.#expected.push(...rest)
  }

  #skip(expected: Expected): void {
    if ('settles' in expected) expected.settles?.drop()
    if (expected.kind === 'parse' && expected.statement) this.discarded.set(expected.statement.name, expected.statement)
    if ('run' in expected && expected.run && !(expected.kind === 'execute' && expected.run.executed && expected.run.finished)) expected.run.ends('skipped')
  }

  /** Portals live no longer than their transaction. */
  transactionEnded(): void {
    for (const { run } of this.portals.clear()) endPortal(run)
  }

  /** Something runs that may change what names mean. */
  renames(): void {
    this.epoch++
    this.renamedSinceSync = true
  }

  /** The session is over: what has no result gets one. */
  abandon(): void {
    for (let next = this.head(); next; next = this.head()) {
      if ('run' in next && next.run) next.run.ends(next.run.forwarded ? 'outcome unknown' : 'not executed')
      this.pop()
    }
    this.transactionEnded()
  }
}

/** A portal is gone: its command was never executed, or its rows were fetched so far. */
export function endPortal(run: CommandRun): void {
  run.ends(run.executed ? 'ok' : 'not executed')
}
