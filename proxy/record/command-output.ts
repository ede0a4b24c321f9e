// What a command says and is told while it runs, as pieces in the record: redacted across their borders, up to a cap where there is one.
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
    const text = piece.toString('utf8')
    const before = this.#before[stream]
    const redacted = this.#record.redactor.redactAfter(before, text)
    this.#before[stream] = text.length < CONTEXT ? (before + text).slice(-CONTEXT) : text.slice(-CONTEXT)
    // As it was, where there is nothing to take out: it need not be text.
    this.#record.output(this.#command, stream, offsetMs, redacted === text ? piece : Buffer.from(redacted))
  }
}
