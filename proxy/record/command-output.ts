// What a command says and is told while it runs, as pieces in the record: redacted across their borders, up to a cap where there is one.
import { isUtf8 } from 'node:buffer'
import type { Attributes, SessionRecord, Stream } from './session-record.ts'

/** UTF-16 units of what came before that a match may begin in. */
const CONTEXT = 1024
/** Bytes in one event: with what came before, no more than is searched for what is to be redacted. */
const PIECE = 63 * 1024
const NOTHING = Buffer.alloc(0)

export class CommandOutput {
  readonly #record: SessionRecord
  readonly #command: number
  /** Bytes of output that may still be recorded. */
  #room: number
  readonly #before: Record<Stream, string> = { in: '', out: '', err: '' }
  #capped = false
  /** How many there were of each, recorded or not. */
  readonly bytes: Record<Stream, number> = { in: 0, out: 0, err: 0 }

  /** `cap`: bytes of output, both streams together. Input has none: what is typed is what is done. */
  constructor(record: SessionRecord, command: number, cap = Infinity) {
    this.#record = record
    this.#command = command
    this.#room = cap
  }

  /** `offsetMs`: since the command began. */
  add(stream: Stream, offsetMs: number, bytes: Buffer): void {
    this.bytes[stream] += bytes.length
    const recorded = stream === 'in' ? bytes : bytes.subarray(0, this.#room)
    for (let at = 0; at < recorded.length; at += PIECE) this.#piece(stream, offsetMs, recorded.subarray(at, at + PIECE))
    if (stream === 'in') return
    this.#room -= recorded.length
    if (recorded.length === bytes.length || this.#capped) return
    this.#capped = true
    this.#record.outputCapped(this.#command)
  }

  /** What is said beside the bytes: a terminal's size, that there is no more input. */
  beside(stream: Stream, offsetMs: number, attributes: Attributes): void {
    this.#record.output(this.#command, stream, offsetMs, NOTHING, attributes)
  }

  #piece(stream: Stream, offsetMs: number, piece: Buffer): void {
    // Byte for byte, where it is no text: nothing is lost of an archive, and bad UTF-8 is slow to decode.
    const encoding = isUtf8(withoutCutCharacters(piece)) ? 'utf8' : 'latin1'
    const text = piece.toString(encoding)
    const before = this.#before[stream]
    const redacted = this.#record.redactor.redactAfter(before, text)
    this.#before[stream] = text.length < CONTEXT ? (before + text).slice(-CONTEXT) : text.slice(-CONTEXT)
    // As it was, where there is nothing to take out.
    this.#record.output(this.#command, stream, offsetMs, redacted === text ? piece : Buffer.from(redacted, encoding))
  }
}

/** A piece may begin and end within a character (RFC 3629: 10xxxxxx goes on, 11xxxxxx begins). */
function withoutCutCharacters(piece: Buffer): Buffer {
  let [from, to] = [0, piece.length]
  while (from < Math.min(3, to) && (piece[from]! & 0xc0) === 0x80) from++
  for (let back = 1; back <= 3 && to - back >= from; back++) {
    const byte = piece[to - back]!
    if ((byte & 0xc0) === 0x80) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    if (length > back) to -= back
    break
  }
  return piece.subarray(from, to)
}
