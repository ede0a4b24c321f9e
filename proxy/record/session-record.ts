// The record of one session: what a protocol says of it, as lines.
import type { LogWriter, Result } from '@agentaccess/recording'
import type { Account } from './account.ts'
import { JSON_STRING_LIMIT, type BlobSpool } from './blob-spool.ts'
import type { Redactor } from './redactor.ts'

export type Attributes = Record<string, unknown>
/** Attributes, or the JSON of them where the protocol has it ready, and redacted: these are on the path of every command. */
export type Recorded = Attributes | string
/** As FORMAT.md names them. */
export type Stream = 'in' | 'out' | 'err'
export type ResultStatus = Result['status']

export interface ResultFields {
  status: ResultStatus
  final: boolean
  /** Which statement of the command, from 1. */
  statement?: number | undefined
  durationMs?: number | undefined
  copy?: DataDigest | undefined
  /** Rows that went to the client, for the totals. */
  rows?: number | undefined
  attributes?: Recorded | undefined
}

export interface DataDigest {
  direction: 'in' | 'out'
  rows?: number
  bytes: number
  sha256: string
}

export interface DecisionFields {
  action: 'deny' | 'alert'
  rule: string
  message?: string
  revision: string
  attributes?: Attributes
}

export type EndedBy = 'client' | 'target' | 'policy' | 'suspended' | 'proxy' | 'interrupted'

/** Bulk data in flight: what a checkpoint says of it. */
export interface DataInFlight {
  command: number
  digest(): DataDigest
}

export class SessionRecord {
  readonly log: LogWriter
  readonly access: string
  readonly #account: Account
  readonly ledgerN: number
  readonly #blobs: BlobSpool
  readonly #redactor: () => Redactor
  readonly #changed: (record: SessionRecord) => void
  readonly #closed: (record: SessionRecord, state: 'ended' | 'interrupted') => void
  readonly #inFlight = new Set<DataInFlight>()
  readonly totals = { commands: 0, denied: 0, errors: 0, rows: 0 }
  #ended = false

  constructor(
    log: LogWriter,
    access: string,
    account: Account,
    ledgerN: number,
    blobs: BlobSpool,
    redactor: () => Redactor,
    changed: (record: SessionRecord) => void,
    closed: (record: SessionRecord, state: 'ended' | 'interrupted') => void,
  ) {
    this.log = log
    this.access = access
    this.#account = account
    this.ledgerN = ledgerN
    this.#blobs = blobs
    this.#redactor = redactor
    this.#changed = changed
    this.#closed = closed
  }

  get id(): string {
    return this.log.id
  }

  /** What is taken out of what is recorded now. */
  get redactor(): Redactor {
    return this.#redactor()
  }

  get ended(): boolean {
    return this.#ended
  }

  /** `attributes`: written as they are, since they name what the session is; what the agent says in them is redacted before. */
  started(spool: string, attributes: Attributes): void {
    this.#write(
      'session.started',
      `,"format":"agentaccess/session/1","ledger":{"spool":"${spool}","n":${this.ledgerN}},"attributes":${this.#json(JSON.stringify(attributes))}`,
    )
  }

  /** Each of these returns the line's sequence number. A command's number is what later lines call it by. */
  statement(attributes: Recorded): number {
    return this.#write('statement', `,"attributes":${this.#json(attributes)}`)
  }

  command(attributes: Recorded): number {
    this.totals.commands++
    this.#account.commands++
    return this.#write('command', `,"command":${this.log.seq + 1},"attributes":${this.#json(attributes)}`)
  }

  execute(command: number, attributes: Attributes): number {
    return this.#write('execute', `,"command":${command},"attributes":${this.#json(attributes)}`)
  }

  /** Without a command where the command itself could not be recorded. */
  decision(command: number | undefined, fields: DecisionFields): number {
    return this.#write(
      'decision',
      `${command === undefined ? '' : `,"command":${command}`},"action":"${fields.action}","rule":${JSON.stringify(fields.rule)}${fields.message === undefined ? '' : `,"message":${this.#string(fields.message)}`},"revision":${JSON.stringify(fields.revision)}${fields.attributes ? `,"attributes":${this.#json(fields.attributes)}` : ''}`,
    )
  }

  result(command: number, fields: ResultFields): number {
    if (fields.status === 'denied') this.countDenied(1)
    else if (fields.status === 'error') {
      this.totals.errors++
      this.#account.errors++
    }
    this.totals.rows += fields.rows ?? 0
    const statement = fields.statement === undefined ? '' : `,"statement":${fields.statement}`
    const duration = fields.durationMs === undefined ? '' : `,"durationMs":${Math.round(fields.durationMs * 1000) / 1000}`
    const copy = fields.copy === undefined ? '' : `,"copy":${JSON.stringify(fields.copy)}`
    const attributes = fields.attributes === undefined ? '' : `,"attributes":${this.#json(fields.attributes)}`
    return this.#write('result', `,"command":${command},"status":"${fields.status}","final":${fields.final}${statement}${duration}${copy}${attributes}`)
  }

  cancel(command: number | undefined, attributes: Attributes): number {
    return this.#write('cancel', `${command === undefined ? '' : `,"command":${command}`},"attributes":${this.#json(attributes)}`)
  }

  refused(count: number, until: string | undefined, attributes: Attributes): number {
    this.countDenied(count)
    return this.#write('connection.refused', `,"count":${count}${until === undefined ? '' : `,"until":"${until}"`},"attributes":${this.#json(attributes)}`)
  }

  taskChanged(attributes: Attributes): number {
    return this.#write('task.changed', `,"attributes":${this.#json(attributes)}`)
  }

  /** Bytes of a stream, redacted before, so many milliseconds after its command began. `attributes`: of what is said beside the bytes. */
  output(command: number, stream: Stream, offsetMs: number, bytes: Buffer, attributes?: Attributes): number {
    const beside = attributes ? `,"attributes":${this.#json(attributes)}` : ''
    return this.#write('output', `,"command":${command},"stream":"${stream}","offsetMs":${Math.round(offsetMs)},"data":"${bytes.toString('base64')}"${beside}`)
  }

  /** What follows of a command's output is not recorded. */
  outputCapped(command: number): number {
    return this.#write('output.capped', `,"command":${command}`)
  }

  policyChanged(revision: string): number {
    return this.#write('policy.changed', `,"revision":${JSON.stringify(revision)}`)
  }

  /** What lies before is in the record; what this stands for is not. Used by adoption where lines may be lost at the end. */
  gap(reason: string): number {
    return this.#write('gap', `,"reason":${JSON.stringify(reason)}`)
  }

  /** Data of this command is on its way: every checkpoint says how much, until the function returned is called. */
  dataInFlight(data: DataInFlight): () => void {
    this.#inFlight.add(data)
    return () => this.#inFlight.delete(data)
  }

  /** Data moved without a line of its own: a checkpoint is due. */
  dataMoved(): void {
    if (this.log.unsignedSince === 0) this.log.unsignedSince = Date.now()
    this.#changed(this)
  }

  checkpoint(adopted = false): void {
    const copies = this.#inFlight.size === 0 ? undefined : JSON.stringify([...this.#inFlight].map((data) => ({ command: data.command, data: data.digest() })))
    this.log.checkpoint(Date.now(), copies, adopted)
  }

  /** Ends the record: totals, the last checkpoint, the ledger's close. Nothing follows. */
  end(by: EndedBy, reason?: string): void {
    if (this.#ended) return
    this.#write('session.ended', `,"by":"${by}"${reason === undefined ? '' : `,"reason":${this.#string(reason)}`},"totals":${JSON.stringify(this.totals)}`)
    this.#ended = true
    this.checkpoint(by === 'interrupted')
    this.#closed(this, by === 'interrupted' ? 'interrupted' : 'ended')
  }

  /** For recovery, where `session.ended` is in the log and what belongs behind it may not be. */
  finish(state: 'ended' | 'interrupted', signed: boolean): void {
    this.#ended = true
    if (!signed) this.checkpoint(true)
    this.#closed(this, state)
  }

  /** Denials that have, or had, no line of their own. */
  countDenied(count: number): void {
    this.totals.denied += count
    this.#account.denied += count
  }

  #write(kind: string, fields: string): number {
    if (this.#ended) throw new Error(`session ${this.id} has ended: ${kind} comes too late`)
    const seq = this.log.write(kind, Date.now(), fields)
    this.#changed(this)
    return seq
  }

  #string(text: string): string {
    return JSON.stringify(this.#redactor().redact(text))
  }

  /**
   * Attributes as JSON. A value too large for a line goes to a blob of the session, whole: `x` becomes `x.blob`, its
   * SHA-256, and `x.bytes`.
   */
  #json(recorded: Recorded): string {
    const json = typeof recorded === 'string' ? recorded : JSON.stringify(this.#redactor().value(recorded))
    if (json.length <= JSON_STRING_LIMIT) return json
    const attributes = JSON.parse(json) as Attributes
    const small: Attributes = {}
    let room = JSON_STRING_LIMIT
    for (const [name, value] of Object.entries(attributes)) {
      const content = typeof value === 'string' ? value : JSON.stringify(value)
      if (content.length * 6 <= room) {
        room -= JSON.stringify(value).length
        small[name] = value
        continue
      }
      const bytes = Buffer.from(content)
      small[`${name}.blob`] = this.#blobs.store(this.id, bytes)
      small[`${name}.bytes`] = bytes.length
    }
    return JSON.stringify(small)
  }
}
