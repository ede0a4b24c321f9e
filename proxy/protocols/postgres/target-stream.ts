// Reads what the target sends, from a view of the bytes: what answers what, and what the client may see of it. Bytes go on
// as they came, in whole pieces; data rows and COPY data flow through without being gathered.
import type { Session } from '../../session.ts'
import { BACKEND as T, isFatal, typeOids } from './backend-messages.ts'
import { CopyDigest } from './copy-digest.ts'
import { encodingRefused, isReadableEncoding } from './encodings.ts'
import { endPortal, type Expected, type Pipeline } from './pipeline.ts'
import { SessionRefused } from './refusals.ts'
import { taskOfApplicationName } from './startup.ts'
import { errorFields, FieldReader, HEADER, ProtocolViolation } from './wire.ts'

/** A message that must be read whole is never longer, but for an error, of which the beginning is enough. */
const MAX_GATHERED = 4 * 1024 * 1024
const ERROR_PREFIX = 64 * 1024

/** What becomes of a message: it goes on, it does not, or something else goes in its place. */
type Passes = 'keep' | 'drop' | Buffer

export class TargetStream {
  readonly #pipeline: Pipeline
  readonly #session: Session
  /** Bytes of a message that is not whole yet, of which nothing has been passed on. */
  #carry: Buffer = Buffer.alloc(0)
  /** Bytes of the message in flight that are still to come. */
  #left = 0
  /** Where the message that was looked at last ends. */
  #end = 0
  #dropping = false
  #copyData: CopyDigest | undefined
  #lastTag = ''

  constructor(pipeline: Pipeline, session: Session) {
    this.#pipeline = pipeline
    this.#session = session
  }

  /** Takes a chunk and returns what goes to the client. @throws ProtocolViolation */
  feed(chunk: Buffer): Buffer[] {
    const out: Buffer[] = []
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, chunk]) : chunk
    let at = 0
    let from = 0
    while (at < bytes.length) {
      if (this.#left > 0) {
        const end = Math.min(bytes.length, at + this.#left)
        this.#copyData?.add(bytes, at, end)
        this.#left -= end - at
        at = end
        if (this.#dropping) from = at
        continue
      }
      if (bytes[at] === T.dataRow) {
        const next = this.#rows(bytes, at)
        if (next > at) {
          at = next
          continue
        }
      }
      const start = at
      const passes = this.#message(bytes, at)
      if (passes === 'more') break
      at = Math.min(bytes.length, this.#end)
      this.#left = this.#end - at
      this.#dropping = passes !== 'keep'
      if (passes === 'keep') continue
      if (start > from) out.push(bytes.subarray(from, start))
      if (passes !== 'drop') out.push(passes)
      from = at
    }
    if (at > from) out.push(bytes.subarray(from, at))
    this.#carry = at < bytes.length ? Buffer.from(bytes.subarray(at)) : Buffer.alloc(0)
    return out
  }

  /** Reads the message at `start`; `more`: more of it is needed first. Sets `#end`, which may lie beyond the bytes that are here. */
  #message(bytes: Buffer, start: number): Passes | 'more' {
    if (bytes.length - start < HEADER) return 'more'
    const type = bytes[start]!
    const length = bytes.readUInt32BE(start + 1)
    if (length < 4) throw new ProtocolViolation('the target sent a message of invalid length')
    const end = start + 1 + length
    this.#end = end
    this.#copyData = undefined
    switch (type) {
      case T.dataRow:
        this.#row(length - 4)
        return 'keep'
      case T.copyData:
        return this.#copyOutData(bytes, start, end)
      case T.notice:
      case T.notification:
        return 'keep'
      case T.error:
        if (bytes.length < Math.min(end, start + HEADER + ERROR_PREFIX)) return 'more'
        return this.#error(bytes.subarray(start + HEADER, Math.min(end, bytes.length)))
      default:
        if (length > MAX_GATHERED) throw new ProtocolViolation(`the target sent a message of type ${String.fromCharCode(type)} and ${length} bytes`)
        if (bytes.length < end) return 'more'
        return this.#whole(type, bytes, start + HEADER, end)
    }
  }

  #expects(kind: Expected['kind']): Expected {
    const head = this.#pipeline.head()
    if (head?.kind !== kind) throw new ProtocolViolation(`the target answered ${head?.kind ?? 'nothing'} with what answers ${kind}`)
    return head
  }

  /** Passes over all whole rows that stand here. Returns where they end. */
  #rows(bytes: Buffer, start: number): number {
    const head = this.#pipeline.head()
    if (head?.kind !== 'execute' && head?.kind !== 'query') return start
    const { length } = bytes
    let [at, rows, size] = [start, 0, 0]
    while (length - at >= HEADER && bytes[at] === T.dataRow) {
      const body = bytes.readUInt32BE(at + 1)
      if (body < 4 || at + 1 + body > length) break
      at += 1 + body
      rows++
      size += body - 4
    }
    head.run.rows(rows, size)
    return at
  }

  #row(bytes: number): void {
    const head = this.#pipeline.head()
    if (head?.kind !== 'execute' && head?.kind !== 'query') throw new ProtocolViolation('the target sent a row that nothing asked for')
    head.run.rows(1, bytes)
  }

  #copyOutData(bytes: Buffer, start: number, end: number): Passes {
    const head = this.#pipeline.head()
    const run = head?.kind === 'execute' || head?.kind === 'query' ? head.run : undefined
    if (run?.copy?.direction !== 'out') throw new ProtocolViolation('the target sent COPY data that nothing asked for')
    this.#copyData = run.copy
    run.copyMoved()
    run.copy.rows = (run.copy.rows ?? 0) + 1
    // The header is not data; what of the body is not here yet is added as it comes.
    run.copy.add(bytes, start + HEADER, Math.min(end, bytes.length))
    return 'keep'
  }

  #whole(type: number, bytes: Buffer, start: number, end: number): Passes {
    const pipeline = this.#pipeline
    switch (type) {
      case T.parseComplete:
        return this.#settled(this.#expects('parse'))
      case T.bindComplete:
        return this.#settled(this.#expects('bind'))
      case T.closeComplete:
        return this.#settled(this.#expects('close'))
      case T.parameterDescription: {
        const head = this.#expects('describe')
        if (head.kind === 'describe' && head.statement) head.statement.parameterTypes = typeOids(bytes, start, end)
        return 'keep'
      }
      case T.rowDescription:
      case T.noData:
        if (pipeline.head()?.kind === 'describe') pipeline.pop()
        else if (pipeline.head()?.kind !== 'query') throw new ProtocolViolation('the target described what nothing asked for')
        return 'keep'
      case T.commandComplete:
        return this.#completed(this.#tag(bytes, start, end - 1))
      case T.emptyQuery:
        return this.#finished((head) => head.run.empty())
      case T.portalSuspended: {
        const head = this.#expects('execute')
        if (head.kind === 'execute') pipeline.pop()
        return 'keep'
      }
      case T.copyIn:
      case T.copyOut:
        return this.#copyBegins(type === T.copyIn ? 'in' : 'out')
      case T.copyDone:
        return 'keep'
      case T.functionCall:
        if (this.#expects('function').kind === 'function') this.#finished((head) => head.run.completed('FUNCTION CALL'), 'function')
        return 'keep'
      case T.parameterStatus:
        this.#parameterStatus(new FieldReader(bytes, start, end))
        return 'keep'
      case T.ready:
        return this.#ready(String.fromCharCode(bytes[start]!))
      default:
        throw new ProtocolViolation(`the target sent a message of unknown type ${JSON.stringify(String.fromCharCode(type))}`)
    }
  }

  #settled(head: Expected): Passes {
    this.#pipeline.pop()
    const replaced = 'settles' in head ? head.settles?.confirm() : undefined
    if (replaced && 'run' in replaced) endPortal(replaced.run)
    return head.ours ? 'drop' : 'keep'
  }

  /** The tag that stands here. Most commands are answered as the one before them, and text costs more than a look. */
  #tag(bytes: Buffer, start: number, end: number): string {
    const last = this.#lastTag
    let same = last.length === end - start
    for (let i = 0; same && i < last.length; i++) same = last.charCodeAt(i) === bytes[start + i]
    if (!same) this.#lastTag = bytes.toString('utf8', start, end)
    return this.#lastTag
  }

  #completed(tag: string): Passes {
    return this.#finished((head) => head.run.completed(tag))
  }

  /** A statement is done: an Execute is answered, a Query goes on until ReadyForQuery. */
  #finished(settle: (head: Extract<Expected, { kind: 'execute' | 'query' | 'function' }>) => void, ...more: 'function'[]): Passes {
    const pipeline = this.#pipeline
    const head = pipeline.head()
    if (head?.kind !== 'execute' && head?.kind !== 'query' && !(head?.kind === 'function' && more.length > 0))
      throw new ProtocolViolation('the target completed what nothing asked for')
    settle(head)
    pipeline.lastRun = head.run
    if (pipeline.copyIn === head.run) pipeline.copyIn = undefined
    if (head.kind === 'execute') {
      if (pipeline.exclusive === head) pipeline.exclusive = undefined
      pipeline.pop()
    }
    return 'keep'
  }

  #copyBegins(direction: 'in' | 'out'): Passes {
    const pipeline = this.#pipeline
    const head = pipeline.head()
    if (head?.kind !== 'execute' && head?.kind !== 'query') throw new ProtocolViolation('the target began a COPY that nothing asked for')
    if (direction === 'in') {
      // Only what may copy in is forwarded alone: otherwise the messages behind it would be taken for its data.
      if (pipeline.exclusive !== head) throw new ProtocolViolation('the target asks for COPY data out of place')
      pipeline.copyIn = head.run
      if (head.kind === 'execute') pipeline.dropSyncs()
    }
    head.run.copyBegins(new CopyDigest(direction))
    return 'keep'
  }

  #error(body: Buffer): Passes {
    const pipeline = this.#pipeline
    const head = pipeline.head()
    if (head === undefined || isFatal(body)) pipeline.farewell = errorFields(body).get('M') ?? ''
    if (pipeline.copyIn) {
      pipeline.copyIn = undefined
      pipeline.strayCopy = true
    }
    switch (head?.kind) {
      case undefined:
        // Nothing was asked: the target ends the connection (a time-out, a shutdown).
        return 'keep'
      case 'sync':
        // The commit failed, of what had been answered as done.
        pipeline.lastRun?.failed(body)
        return 'keep'
      case 'denied':
        pipeline.skipToSync()
        return head.response
      case 'query':
      case 'function':
        head.run.failed(body)
        return 'keep'
      case 'parse':
      case 'bind':
      case 'execute':
        head.run?.failed(body)
        if ('settles' in head) head.settles?.drop()
        if (head.kind === 'parse' && head.statement) pipeline.discarded.set(head.statement.name, head.statement)
        pipeline.skipToSync()
        return 'keep'
      case 'describe':
      case 'close':
        if ('settles' in head) head.settles?.drop()
        pipeline.skipToSync()
        return 'keep'
    }
  }

  #ready(status: string): Passes {
    const pipeline = this.#pipeline
    const head = pipeline.head()
    if (head?.kind !== 'sync' && head?.kind !== 'query' && head?.kind !== 'function')
      throw new ProtocolViolation('the target is ready, and was not asked to be')
    if (status !== 'I' && status !== 'T' && status !== 'E') throw new ProtocolViolation('the target has an unknown transaction status')
    if (head.kind !== 'sync') {
      head.run.settle()
      head.run.ends('skipped')
      pipeline.exclusive = undefined
    }
    pipeline.pop()
    pipeline.transaction = status
    if (status === 'I') pipeline.transactionEnded()
    return 'keep'
  }

  #parameterStatus(fields: FieldReader): void {
    const [name, value] = [fields.cstring(), fields.cstring()]
    // However it came about (a function can set it): what comes next could mean something else than it seems to.
    if (name === 'client_encoding' && !isReadableEncoding(value)) throw new SessionRefused(encodingRefused(value))
    const claimed = name === 'application_name' ? taskOfApplicationName(value) : undefined
    if (claimed) this.#session.taskChanged(claimed.task, claimed.source)
  }
}
