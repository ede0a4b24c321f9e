// One command from its record to its result.
import type { ResultFields, ResultStatus, SessionRecord } from '../../record/session-record.ts'
import type { CopyDigest } from './copy-digest.ts'
import type { Analysis } from './sql/analyse.ts'
import { redactPasswords } from './sql/redact.ts'
import { errorFields } from './wire.ts'

/** Rows of a command tag, where it has them: `INSERT 0 5`, `SELECT 5`, `COPY 5`. */
function rowsOf(tag: string): number | undefined {
  const match = /^(?:INSERT \d+|SELECT|UPDATE|DELETE|MERGE|MOVE|FETCH|COPY) (\d+)$/.exec(tag)
  return match ? Number(match[1]) : undefined
}

const READS = /^(?:SELECT|FETCH)/

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

  row(bytes: number): void {
    this.#rows++
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
    const rows = rowsOf(tag)
    if (this.copy && rows !== undefined) this.copy.rows = rows
    const returned = READS.test(tag) ? (rows ?? this.#rows) : this.#rows
    this.#result({
      status: 'ok',
      final: this.statements !== undefined && this.#statement >= this.statements,
      attributes: {
        'agentaccess.command.tag': tag,
        ...(rows !== undefined && !READS.test(tag) ? { 'agentaccess.rows.affected': rows } : {}),
        ...(returned > 0 || READS.test(tag) ? { 'db.response.returned_rows': returned } : {}),
        ...(this.#bytes > 0 ? { 'agentaccess.response.bytes': this.#bytes } : {}),
      },
    })
  }

  /** EmptyQueryResponse. */
  empty(): void {
    this.#result({ status: 'ok', final: true, attributes: { 'agentaccess.command.tag': '' } })
  }

  failed(errorBody: Buffer): void {
    const fields = errorFields(errorBody)
    const sqlstate = fields.get('C') ?? ''
    this.#result({
      status: sqlstate === '57014' ? 'cancelled' : 'error',
      final: true,
      attributes: {
        'db.response.status_code': sqlstate,
        'error.type': sqlstate,
        'agentaccess.error.message': redactPasswords(fields.get('M') ?? ''),
        ...(fields.has('D') ? { 'agentaccess.error.detail': redactPasswords(fields.get('D')!) } : {}),
        ...(this.#rows > 0 ? { 'db.response.returned_rows': this.#rows, 'agentaccess.response.bytes': this.#bytes } : {}),
      },
    })
  }

  denied(rule: string, sqlstate: string): void {
    this.#result({ status: 'denied', final: true, attributes: { 'db.response.status_code': sqlstate, 'error.type': sqlstate, 'agentaccess.rule': rule } })
  }

  /** It ends without an answer of its own. Writes nothing where it already has its last result. */
  ends(status: ResultStatus): void {
    if (this.#finished) return
    this.#flushHeld(status === 'ok')
    if (this.#finished) return
    this.#result({
      status,
      final: true,
      ...(this.#rows > 0 ? { attributes: { 'db.response.returned_rows': this.#rows, 'agentaccess.response.bytes': this.#bytes } } : {}),
    })
  }

  /** The server is ready for the next: a result that waited to know whether it is the last one is. */
  settle(): void {
    this.#flushHeld(true)
  }

  #result(fields: ResultFields): void {
    this.#flushHeld(false)
    this.#copyDone?.()
    this.#copyDone = undefined
    const result: ResultFields = {
      ...fields,
      ...(this.statements === 1 ? {} : { statement: this.#statement }),
      durationMs: performance.now() - this.#startedAt,
      ...(this.copy ? { copy: this.copy.digest() } : {}),
    }
    this.copy = undefined
    // Where the text could not be read, only ReadyForQuery tells that there is no more.
    if (!result.final && this.statements === undefined) this.#held = result
    else this.#write(result)
    this.#rows = this.#bytes = 0
    this.#statement++
    this.#startedAt = performance.now()
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
