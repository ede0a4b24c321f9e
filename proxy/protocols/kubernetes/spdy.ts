// Reads SPDY/3.1 (SPDY Protocol, Draft 3.1, 2.2 "Framing") from a view of both directions. Frames may begin and end anywhere in
// a chunk. The agent opens streams; what they are for, their headers say.
import { createInflate, constants } from 'node:zlib'
import { SPDY_DICTIONARY } from './spdy-dictionary.ts'
import type { StreamDecoder } from './stream-decoders.ts'
import { StreamViolation } from './stream-violation.ts'

const VERSION = 3
const TYPE = { synStream: 1, synReply: 2, rstStream: 3, settings: 4, ping: 6, goAway: 7, headers: 8, windowUpdate: 9 } as const
const KNOWN: ReadonlySet<number> = new Set(Object.values(TYPE))
const FIN = 0x01
const HEADER = 8
const MAX_CONTROL = 64 * 1024

/** Told of the streams. `from`: who says it. */
export interface StreamSink {
  opened(stream: number, headers: ReadonlyMap<string, string>): void
  data(stream: number, bytes: Buffer, from: Side): void
  /** A frame of data is whole. */
  frameEnds(stream: number, from: Side): void
  /** That side sends no more. */
  closes(stream: number, from: Side): void
  result(): ReturnType<StreamDecoder['result']>
}

export type Side = 'client' | 'target'

export class SpdyDecoder implements StreamDecoder {
  readonly #sink: StreamSink
  readonly #client: Direction
  readonly #target: Direction

  constructor(sink: StreamSink) {
    this.#sink = sink
    this.#client = new Direction(sink, 'client')
    this.#target = new Direction(sink, 'target')
  }

  client(chunk: Buffer): Promise<void> {
    return this.#client.add(chunk)
  }

  target(chunk: Buffer): Promise<void> {
    return this.#target.add(chunk)
  }

  result(): ReturnType<StreamDecoder['result']> {
    return this.#sink.result()
  }
}

class Direction {
  readonly #sink: StreamSink
  readonly #side: Side
  readonly #inflater = new HeaderInflater()
  /** A control frame, or a header, that is not whole yet. */
  #carry = Buffer.alloc(0)
  #left = 0
  #stream = 0
  #fin = false

  constructor(sink: StreamSink, side: Side) {
    this.#sink = sink
    this.#side = side
  }

  async add(chunk: Buffer): Promise<void> {
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, chunk]) : chunk
    this.#carry = Buffer.alloc(0)
    let at = 0
    while (at < bytes.length) {
      if (this.#left > 0) {
        const end = Math.min(bytes.length, at + this.#left)
        this.#left -= end - at
        this.#sink.data(this.#stream, bytes.subarray(at, end), this.#side)
        at = end
        if (this.#left === 0) this.#dataEnds()
        continue
      }
      const rest = bytes.subarray(at)
      const size = frameSize(rest)
      if (size === undefined) {
        this.#carry = Buffer.from(rest)
        return
      }
      if (isControl(rest)) {
        await this.#control(rest.subarray(0, size))
        at += size
        continue
      }
      this.#stream = rest.readUInt32BE(0)
      this.#fin = (rest[4]! & FIN) !== 0
      this.#left = rest.readUIntBE(5, 3)
      at += HEADER
      if (this.#left === 0) this.#dataEnds()
    }
  }

  #dataEnds(): void {
    this.#sink.frameEnds(this.#stream, this.#side)
    if (this.#fin) this.#sink.closes(this.#stream, this.#side)
  }

  async #control(frame: Buffer): Promise<void> {
    const type = frame.readUInt16BE(2)
    if (frame.readUInt16BE(0) !== (0x8000 | VERSION) || !KNOWN.has(type))
      throw new StreamViolation(`a SPDY control frame of an unknown version or type ${type}`)
    const fin = (frame[4]! & FIN) !== 0
    const block = type === TYPE.synStream ? 18 : 12
    if (type === TYPE.synStream || type === TYPE.synReply || type === TYPE.headers) {
      if (frame.length < block) throw new StreamViolation('a SPDY control frame is shorter than its fields')
      if (type === TYPE.synStream && this.#side === 'target') throw new StreamViolation('the target opens a stream, which no protocol here has')
      const stream = frame.readUInt32BE(HEADER) & 0x7fffffff
      const headers = headersOf(await this.#inflater.inflate(frame.subarray(block)))
      if (type === TYPE.synStream) this.#sink.opened(stream, headers)
      if (fin) this.#sink.closes(stream, this.#side)
    } else if (type === TYPE.rstStream && frame.length >= 12) this.#sink.closes(frame.readUInt32BE(HEADER) & 0x7fffffff, this.#side)
  }
}

const isControl = (bytes: Buffer): boolean => (bytes[0]! & 0x80) !== 0

/** Of a control frame, which is needed whole, or of a data frame's header; undefined where it is not all here. @throws StreamViolation */
function frameSize(bytes: Buffer): number | undefined {
  if (bytes.length < HEADER) return undefined
  if (!isControl(bytes)) return HEADER
  const size = HEADER + bytes.readUIntBE(5, 3)
  if (size > MAX_CONTROL) throw new StreamViolation(`a SPDY control frame of ${size} bytes`)
  return bytes.length < size ? undefined : size
}

/** All header blocks of one direction are one zlib stream, flushed after each. */
class HeaderInflater {
  readonly #inflate = createInflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH })
  #failed: ((error: Error) => void) | undefined

  constructor() {
    this.#inflate.on('error', (error) => this.#failed?.(new StreamViolation(`SPDY headers that can't be decompressed: ${error.message}`)))
  }

  inflate(block: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#failed = reject
      this.#inflate.write(block, (error) => {
        if (error) reject(new StreamViolation(`SPDY headers that can't be decompressed: ${error.message}`))
        else resolve((this.#inflate.read() as Buffer | null) ?? Buffer.alloc(0))
      })
    })
  }
}

/** Name/value block (2.6.10): count (4), then length (4) and bytes of each name and value. */
function headersOf(block: Buffer): Map<string, string> {
  const headers = new Map<string, string>()
  let at = 0
  const int = () => {
    if (at + 4 > block.length) throw new StreamViolation('a SPDY header block is shorter than its fields')
    at += 4
    return block.readUInt32BE(at - 4)
  }
  const text = () => {
    const length = int()
    if (at + length > block.length) throw new StreamViolation('a SPDY header block is shorter than its fields')
    at += length
    return block.toString('utf8', at - length, at)
  }
  for (let left = int(); left > 0; left--) headers.set(text().toLowerCase(), text())
  return headers
}
