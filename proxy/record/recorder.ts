// All that a proxy records: its sessions, its ledger, and when each is signed.
import { statfs } from 'node:fs/promises'
import { v7 as uuidv7 } from 'uuid'
import { LogWriter, type LineSink, type LogPosition, type Signer } from '@agentaccess/recording'
import { Account } from './account.ts'
import { BlobSpool } from './blob-spool.ts'
import { Gate } from './gate.ts'
import { Redactor } from './redactor.ts'
import { SessionRecord, type Attributes } from './session-record.ts'
import type { Spool } from './spool.ts'

const CHECKPOINT_MS = 1000
const CHECKPOINT_EVENTS = 1000
const TICK_MS = 200
/** Below this the disk counts as full: room for what runs to be recorded to its end. */
const RESERVE_BYTES = 64 * 1024 * 1024

export interface RecorderOptions {
  spool: Spool
  spoolId: string
  signer: Signer
  ledger: LogPosition & { lastN: number }
  /** Bytes of the spool that each access holds already. */
  usage?: ReadonlyMap<string, number>
  /** Free bytes of the spool's disk; passed in so that a test can fill it. */
  freeBytes?: () => Promise<number>
}

export class Recorder implements LineSink {
  readonly gate: Gate
  readonly spoolId: string
  readonly signer: Signer
  readonly #spool: Spool
  readonly #ledger: LogWriter
  readonly #blobs: BlobSpool
  readonly #dirty = new Set<SessionRecord>()
  /** Bytes of the spool that each access holds. */
  readonly #accounts = new Map<string, Account>()
  readonly #live = new Map<string, SessionRecord>()
  readonly #freeBytes: () => Promise<number>
  readonly #timer: NodeJS.Timeout
  #lastN: number
  #lastAppend = Date.now()
  #diskFull: string | undefined

  constructor(options: RecorderOptions) {
    this.#spool = options.spool
    this.spoolId = options.spoolId
    this.signer = options.signer
    this.#lastN = options.ledger.lastN
    for (const [access, bytes] of options.usage ?? []) this.#accounts.set(access, new Account(bytes))
    this.#ledger = new LogWriter('ledger', options.spoolId, this, options.signer, options.ledger)
    this.#blobs = new BlobSpool(options.spool.folder, (session, bytes) => {
      this.#live.get(session)?.log.account?.add(bytes)
    })
    this.gate = new Gate(options.spool)
    this.#freeBytes = options.freeBytes ?? (async () => statfs(options.spool.folder).then(({ bavail, bsize }) => bavail * bsize))
    this.#timer = setInterval(() => {
      this.#watchDisk()
      this.#sign()
      if (this.#spool.pending > 0) this.gate.schedule()
    }, TICK_MS)
    this.#timer.unref()
  }

  /** When the last line was made; milliseconds since the epoch. */
  get lastAppend(): number {
    return this.#lastAppend
  }

  /** A line of any of its logs: into the spool, on the account of the access. */
  append(log: LogWriter, previous: string, line: string): string {
    const before = this.#spool.pending
    this.#lastAppend = Date.now()
    const head = this.#spool.append(log, previous, line)
    log.account?.add(this.#spool.pending - before)
    return head
  }

  /**
   * Begins a session: its number in the ledger, then its first line. Both are on the disk once the promise that
   * `durable` gives resolves; nothing of the session may be forwarded before.
   */
  openSession(access: string, attributes: Attributes, redactor: () => Redactor = () => Redactor.none): { record: SessionRecord; durable: Promise<void> } {
    const id = uuidv7()
    const now = Date.now()
    const n = ++this.#lastN
    this.#ledger.write('open', now, `,"n":${n},"session":"${id}","access":${JSON.stringify(access)}`)
    const record = this.#follow(new LogWriter('session', id, this, this.signer), access, n, redactor)
    record.started(this.spoolId, attributes)
    if (attributes['agentaccess.door'] !== true) this.#account(access).sessions++
    return { record, durable: new Promise((resolve, reject) => this.gate.pass('Synced', resolve, (reason) => reject(new Error(reason)))) }
  }

  /** The record of a session that another process began, from where its log stands: for recovery to end it. */
  adopt(session: string, position: LogPosition, access: string, ledgerN: number): SessionRecord {
    return this.#follow(new LogWriter('session', session, this, this.signer, position), access, ledgerN, () => Redactor.none)
  }

  #follow(log: LogWriter, access: string, ledgerN: number, redactor: () => Redactor): SessionRecord {
    const account = this.#account(access)
    log.account = account
    const record = new SessionRecord(
      log,
      access,
      account,
      ledgerN,
      this.#blobs,
      redactor,
      (changed) => {
        this.#dirty.add(changed)
        if (log.unsigned >= CHECKPOINT_EVENTS) changed.checkpoint()
        this.gate.schedule()
      },
      (ended, state) => this.#close(ended, state),
    )
    this.#live.set(log.id, record)
    return record
  }

  /** Why nothing new of this access can be recorded now; undefined where it can. */
  blocked(access: string, quotaBytes: number): string | undefined {
    const blocked = this.gate.blocked ?? this.#diskFull
    if (blocked !== undefined) return blocked
    const used = this.#account(access).bytes
    return used >= quotaBytes ? `the spool quota of ${access} is used up (${used} of ${quotaBytes} bytes wait to be stored as evidence)` : undefined
  }

  /** What an access has come to. */
  account(access: string): Readonly<Account> {
    return this.#account(access)
  }

  /** Evidence of an access has been stored: its share of the spool is free again. */
  stored(access: string, bytes: number): void {
    const account = this.#account(access)
    account.bytes = Math.max(0, account.bytes - bytes)
  }

  /** Signs what is unsigned, writes and syncs everything. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    for (const record of this.#dirty) if (!record.ended && record.log.unsigned > 0) record.checkpoint()
    this.#dirty.clear()
    if (this.#ledger.unsigned > 0) this.#ledger.ledgerHead(Date.now(), this.#lastN)
    await new Promise<void>((resolve, reject) => this.gate.pass('Synced', resolve, (reason) => reject(new Error(reason))))
    this.gate.close()
    this.#spool.close()
  }

  #account(access: string): Account {
    let account = this.#accounts.get(access)
    if (!account) {
      account = new Account()
      this.#accounts.set(access, account)
    }
    return account
  }

  #close(record: SessionRecord, state: 'ended' | 'interrupted'): void {
    this.#live.delete(record.id)
    const { seq, head } = record.log
    this.#ledger.write('close', Date.now(), `,"n":${record.ledgerN},"session":"${record.id}","events":${seq},"head":"${head}","state":"${state}"`)
    this.gate.schedule()
  }

  /** Checkpoints that are due because a second has passed; after 1,000 events they are made at once. */
  #sign(): void {
    const now = Date.now()
    const due = (log: LogWriter) => log.unsignedSince !== 0 && now - log.unsignedSince >= CHECKPOINT_MS - TICK_MS
    for (const record of this.#dirty) {
      if (!record.ended) {
        if (!due(record.log)) continue
        record.checkpoint()
      }
      this.#dirty.delete(record)
    }
    if (due(this.#ledger)) this.#ledger.ledgerHead(now, this.#lastN)
  }

  #watchDisk(): void {
    this.#freeBytes().then(
      (free) => {
        this.#diskFull =
          free < RESERVE_BYTES ? `the disk under the spool is full (${free} bytes free, and ${RESERVE_BYTES} are kept for what already runs)` : undefined
      },
      (error: unknown) => {
        this.#diskFull = `the spool's disk can't be read: ${String(error)}`
      },
    )
  }
}
