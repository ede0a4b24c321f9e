// Reads the frames of one direction of a WebSocket (RFC 6455, 5.2) from a view of its bytes: frames may begin and end anywhere
// in a chunk, and several may come in one.
import { StreamViolation } from './stream-violation.ts'

const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const
const MAX_CONTROL = 125

/** Told of the payload of messages as it comes: `first` at the beginning of each message. */
export interface MessageReader {
  payload(bytes: Buffer, first: boolean): void
  messageEnds(): void
  /** The side says that it will send no more. */
  closes(): void
}

export class WebSocketReader {
  readonly #reader: MessageReader
  readonly #masked: boolean
  #header = Buffer.alloc(0)
  #left = 0
  #mask: Buffer | undefined
  /** How far into the mask the next byte is. */
  #masking = 0
  #opcode = -1
  #final = true
  /** A message has begun and has not ended. */
  #inMessage = false
  #first = true

  /** `masked`: a client's frames are, a server's are not (5.1). */
  constructor(reader: MessageReader, masked: boolean) {
    this.#reader = reader
    this.#masked = masked
  }

  /** @throws StreamViolation */
  add(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#left > 0) {
        const end = Math.min(chunk.length, at + this.#left)
        this.#left -= end - at
        this.#payload(chunk.subarray(at, end))
        at = end
        if (this.#left === 0) this.#frameEnds()
        continue
      }
      // A header has at most 14 bytes: what is missing is gathered.
      const had = this.#header.length
      const header = Buffer.concat([this.#header, chunk.subarray(at, at + 14 - had)])
      const length = headerLength(header)
      if (length === undefined) {
        this.#header = header
        return
      }
      at += length - had
      this.#header = Buffer.alloc(0)
      this.#begin(header.subarray(0, length))
      if (this.#left === 0) this.#frameEnds()
    }
  }

  #begin(header: Buffer): void {
    const [flags, second] = [header[0]!, header[1]!]
    if ((flags & 0x70) !== 0) throw new StreamViolation('a WebSocket frame uses an extension that was not agreed on')
    this.#opcode = flags & 0x0f
    this.#final = (flags & 0x80) !== 0
    if (((second & 0x80) !== 0) !== this.#masked) throw new StreamViolation(`a WebSocket frame is ${this.#masked ? 'not ' : ''}masked`)
    const short = second & 0x7f
    const long = short === 126 ? header.readUInt16BE(2) : short === 127 ? Number(header.readBigUInt64BE(2)) : short
    if (!Number.isSafeInteger(long)) throw new StreamViolation('a WebSocket frame is too long')
    this.#left = long
    this.#mask = this.#masked ? Buffer.from(header.subarray(header.length - 4)) : undefined
    this.#masking = 0
    switch (this.#opcode) {
      case OPCODE.text:
      case OPCODE.binary:
        if (this.#inMessage) throw new StreamViolation('a WebSocket message begins in the middle of another')
        this.#inMessage = true
        this.#first = true
        return
      case OPCODE.continuation:
        if (!this.#inMessage) throw new StreamViolation('a WebSocket frame continues no message')
        return
      case OPCODE.close:
      case OPCODE.ping:
      case OPCODE.pong:
        if (long > MAX_CONTROL || !this.#final) throw new StreamViolation('a WebSocket control frame is malformed')
        return
      default:
        throw new StreamViolation(`a WebSocket frame has the unknown opcode ${this.#opcode}`)
    }
  }

  #payload(bytes: Buffer): void {
    if (this.#opcode >= OPCODE.close) return
    const first = this.#first
    this.#first = false
    this.#reader.payload(this.#mask ? this.#unmasked(bytes, this.#mask) : bytes, first)
  }

  /** Word by word: a byte at a time is what uploads would wait for. */
  #unmasked(bytes: Buffer, mask: Buffer): Buffer {
    const out = Buffer.allocUnsafeSlow(bytes.length)
    bytes.copy(out)
    const rotated = Uint8Array.from({ length: 4 }, (_, i) => mask[(this.#masking + i) & 3]!)
    const [word] = new Uint32Array(rotated.buffer) as unknown as [number]
    const words = new Uint32Array(out.buffer, 0, bytes.length >> 2)
    for (let i = 0; i < words.length; i++) words[i]! ^= word
    for (let i = words.length * 4; i < bytes.length; i++) out[i]! ^= rotated[i & 3]!
    this.#masking = (this.#masking + bytes.length) & 3
    return out
  }

  #frameEnds(): void {
    if (this.#opcode === OPCODE.close) this.#reader.closes()
    if (this.#opcode >= OPCODE.close || !this.#final) return
    this.#inMessage = false
    this.#reader.messageEnds()
  }
}

/** Of a frame's header; undefined where not all of it is here. */
function headerLength(bytes: Buffer): number | undefined {
  if (bytes.length < 2) return undefined
  const short = bytes[1]! & 0x7f
  const length = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + ((bytes[1]! & 0x80) === 0 ? 0 : 4)
  return bytes.length < length ? undefined : length
}
