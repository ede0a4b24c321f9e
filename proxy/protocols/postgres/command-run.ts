// One command from its record to its result.
import type { Attributes, Recorded, ResultFields, ResultStatus, SessionRecord } from '../../record/session-record.ts'
import type { CopyDigest } from './copy-digest.ts'
import type { Analysis } from './sql/facts.ts'
import { redactError } from './sql/redact.ts'
import { errorFields } from './wire.ts'

interface Tag {
  tag: string
  json: string
  /** Where it has them: `INSERT 0 5`, `SELECT 5`, `COPY 5`. */
  rows: number | undefined
  /** Whether its rows are those that were returned, not those that were changed. */
  reads: boolean
}

function readTag(tag: string): Tag {
  const match = /^(?:INSERT \d+|SELECT|UPDATE|DELETE|MERGE|MOVE|FETCH|COPY) (\d+)$/.exec(tag)
  return { tag, json: `{"agentaccess.command.tag":${JSON.stringify(tag)}`, rows: match ? Number(match[1]) : undefined, reads: /^(?:SELECT|FETCH)/.test(tag) }
}

/** Most commands end as the one before them did. */
let lastTag = readTag('')

export class CommandRun {
  /** The number of its `command` event. */
  readonly command: number
  /** Statements of a simple Query; undefined where its text can't be read. */
  readonly statements: number | undefined
  readonly #record: SessionRecord
  #startedAt = performance.now()
  #rows = 0
  #bytes = 0
  #statement = 1
  #held: ResultFields | undefined
  #finished = false
  #copyDone: (() => void) | undefined
  /** Whether its first byte has gone to the target. */
  forwarded = false
  executed = false
  analysis: Analysis | undefined
  copy: CopyDigest | undefined

  constructor(record: SessionRecord, command: number, statements: number | undefined = 1) {
    this.#record = record
    this.command = command
    this.statements = statements
  }

  get finished(): boolean {
    return this.#finished
  }

  /** The next of several statements, or an Execute of its own: time counts from here. */
  begins(): void {
    this.executed = true
    this.#startedAt = performance.now()
  }

  rows(count: number, bytes: number): void {
    this.#rows += count
    this.#bytes += bytes
  }

  copyBegins(copy: CopyDigest): void {
    this.copy = copy
    this.#copyDone = this.#record.dataInFlight({ command: this.command, digest: () => copy.digest() })
  }

  copyMoved(): void {
    this.#record.dataMoved()
  }

  completed(tag: string): void {
    if (tag !== lastTag.tag) lastTag = readTag(tag)
    const { json, rows, reads } = lastTag
    if (this.copy && rows !== undefined) this.copy.rows = rows
    const returned = reads ? (rows ?? this.#rows) : this.#rows
    let attributes = json
    if (rows !== undefined && !reads) attributes += `,"agentaccess.rows.affected":${rows}`
    if (returned > 0 || reads) attributes += `,"db.response.returned_rows":${returned}`
    if (this.#bytes > 0) attributes += `,"agentaccess.response.bytes":${this.#bytes}`
    this.#result('ok', this.statements !== undefined && this.#statement >= this.statements, returned, `${attributes}}`)
  }

  /** EmptyQueryResponse. */
  empty(): void {
    this.#result('ok', true, 0, '{"agentaccess.command.tag":""}')
  }

  failed(errorBody: Buffer): void {
    const fields = errorFields(errorBody)
    const sqlstate = fields.get('C') ?? ''
    const redactor = this.#record.redactor
    this.#result(sqlstate === '57014' ? 'cancelled' : 'error', true, this.#rows, {
      'db.response.status_code': sqlstate,
      'error.type': sqlstate,
      'agentaccess.error.message': redactError(fields.get('M') ?? '', redactor),
      ...(fields.has('D') ? { 'agentaccess.error.detail': redactError(fields.get('D')!, redactor) } : {}),
      ...this.#returned(),
    })
  }

  denied(rule: string, sqlstate: string): void {
    this.#result('denied', true, 0, { 'db.response.status_code': sqlstate, 'error.type': sqlstate, 'agentaccess.rule': rule })
  }

  /** It ends without an answer of its own. Writes nothing where it already has its last result. */
  ends(status: ResultStatus): void {
    if (this.#finished) return
    this.#flushHeld(status === 'ok')
    if (this.#finished) return
    this.#result(status, true, this.#rows, this.#returned())
  }

  #returned(): Attributes | undefined {
    return this.#rows > 0 ? { 'db.response.returned_rows': this.#rows, 'agentaccess.response.bytes': this.#bytes } : undefined
  }

  /** The server is ready for the next: a result that waited to know whether it is the last one is. */
  settle(): void {
    this.#flushHeld(true)
  }

  #result(status: ResultStatus, final: boolean, rows: number, attributes: Recorded | undefined): void {
    this.#flushHeld(false)
    const now = performance.now()
    const result: ResultFields = { status, final, statement: undefined, durationMs: now - this.#startedAt, copy: undefined, rows, attributes }
    if (this.statements !== 1) result.statement = this.#statement
    if (this.copy) {
      this.#copyDone?.()
      this.#copyDone = undefined
      result.copy = this.copy.digest()
      this.copy = undefined
    }
    // Where the text could not be read, only ReadyForQuery tells that there is no more.
    if (!final && this.statements === undefined) this.#held = result
    else this.#write(result)
    this.#rows = this.#bytes = 0
    this.#statement++
    this.#startedAt = now
  }

  #flushHeld(final: boolean): void {
    const held = this.#held
    this.#held = undefined
    if (held) this.#write({ ...held, final })
  }

  #write(fields: ResultFields): void {
    this.#record.result(this.command, fields)
    if (fields.final) this.#finished = true
  }
}
