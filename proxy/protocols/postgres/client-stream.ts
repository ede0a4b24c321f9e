// Reads what the agent sends, from a view of the bytes, and decides of each message whether it goes on as it came, is held,
// or is refused. PostgreSQL documentation, 54.2 "Message Flow", 54.7 "Message Formats".
import type { Session } from '../../session.ts'
import { Commands } from './commands.ts'
import type { CommandRun } from './command-run.ts'
import { CopyDigest } from './copy-digest.ts'
import { DROP, PASS, type Verdict } from './denials.ts'
import type { Pipeline } from './pipeline.ts'
import { HEADER, ProtocolViolation } from './wire.ts'

/** What one feed came to. */
export interface Fed {
  /** For the target, in order. */
  out: Buffer[]
  /** Commands whose first byte is among them. */
  begun: CommandRun[]
  /** The agent said goodbye. */
  terminated: boolean
}

const D = 'd'.charCodeAt(0)
const TERMINATE = 'X'.charCodeAt(0)
const COPY_DONE = 'c'.charCodeAt(0)
const COPY_FAIL = 'f'.charCodeAt(0)
const FLUSH = 'H'.charCodeAt(0)
const SYNC = 'S'.charCodeAt(0)
/** Longest message that is not a command: a name, a reason. */
const MAX_SMALL = 64 * 1024

export class ClientStream {
  readonly #pipeline: Pipeline
  readonly #commands: Commands
  readonly #session: Session
  #chunks: Buffer[] = []
  #have = 0
  /** How many bytes must be here before it is worth looking. */
  #need = 1
  /** Bytes of a CopyData message that are still to come, and what becomes of them. */
  #dataLeft = 0
  #dataTo: CopyDigest | 'dropped' = 'dropped'
  /** Bytes of a refused message that are still to come. */
  #skipLeft = 0
  #held = false
  /** How many bytes the last verdict is on. */
  #bytes = 0
  #begun: CommandRun[] = []
  #copy: CopyDigest | undefined

  constructor(pipeline: Pipeline, session: Session, role: string) {
    this.#pipeline = pipeline
    this.#commands = new Commands(pipeline, session, role, (run) => this.#begun.push(run))
    this.#session = session
  }

  /** Whether a message waits for an answer to an earlier one, or for a decision: nothing more should be read. */
  get held(): boolean {
    return this.#held
  }

  /** Resolves when a decision that holds a message is there; undefined where none is waited for. */
  get decision(): Promise<unknown> | undefined {
    return this.#commands.waiting
  }

  /** The session is over, and with it what was held. */
  abandon(): void {
    this.#commands.abandon()
  }

  /** Takes a chunk (an empty one: looks again at what was held). @throws ProtocolViolation */
  feed(chunk: Buffer): Fed {
    if (chunk.length > 0) {
      this.#chunks.push(chunk)
      this.#have += chunk.length
    }
    const fed: Fed = { out: [], begun: [], terminated: false }
    this.#commands.turnBegins()
    if (this.#have >= this.#need && this.#have > 0) this.#process(this.#gather(), fed)
    fed.begun = this.#begun
    this.#begun = []
    return fed
  }

  #gather(): Buffer {
    const [only] = this.#chunks
    return this.#chunks.length === 1 ? only! : Buffer.concat(this.#chunks)
  }

  #process(bytes: Buffer, fed: Fed): void {
    let at = 0
    let from = 0
    this.#held = false
    this.#need = 1
    const passUpTo = (end: number) => {
      if (end > from) fed.out.push(bytes.subarray(from, end))
    }
    while (at < bytes.length && !fed.terminated) {
      if (this.#skipLeft > 0 || this.#dataLeft > 0) {
        const end = this.#data(bytes, at)
        if (this.#skipLeft > 0 || this.#dataTo === 'dropped') {
          passUpTo(at)
          from = end
        }
        at = end
        continue
      }
      if (bytes.length - at < HEADER) {
        this.#need = HEADER
        break
      }
      const type = bytes[at]!
      const length = bytes.readUInt32BE(at + 1)
      if (length < 4) throw new ProtocolViolation(`message of type ${JSON.stringify(String.fromCharCode(type))} has an invalid length`)
      const verdict = this.#message(type, bytes, at, length)
      if (verdict === 'hold') {
        this.#held = true
        break
      }
      if (verdict === 'more') {
        this.#need = 1 + length
        break
      }
      const end = Math.min(bytes.length, at + this.#bytes)
      if (verdict.before || verdict.drop) {
        passUpTo(at)
        from = verdict.drop ? end : at
        if (verdict.before) fed.out.push(verdict.before)
      }
      at = end
      fed.terminated = type === TERMINATE
    }
    passUpTo(at)
    // Data that goes on is not a reason to keep the chunk it came in.
    this.#chunks = at < bytes.length ? [at === 0 ? bytes : Buffer.from(bytes.subarray(at))] : []
    this.#have = bytes.length - at
  }

  /** Bytes in the middle of a message that need not be whole. Returns where they end. */
  #data(bytes: Buffer, at: number): number {
    if (this.#skipLeft > 0) {
      const end = Math.min(bytes.length, at + this.#skipLeft)
      this.#skipLeft -= end - at
      return end
    }
    const end = Math.min(bytes.length, at + this.#dataLeft)
    if (this.#dataTo !== 'dropped') {
      this.#dataTo.add(bytes, at, end)
      this.#pipeline.copyIn?.copyMoved()
    }
    this.#dataLeft -= end - at
    return end
  }

  /** Sets `#bytes`: how many of the message's bytes the verdict is on. */
  #message(type: number, bytes: Buffer, start: number, length: number): 'hold' | 'more' | Verdict {
    const whole = 1 + length
    this.#bytes = whole
    switch (type) {
      case D:
        return this.#copyData(length)
      case COPY_DONE:
      case COPY_FAIL:
        if (bytes.length - start < whole) return this.#gathering(length, MAX_SMALL)
        return this.#copyEnds()
      case TERMINATE:
        if (length !== 4) throw new ProtocolViolation('malformed Terminate')
        return PASS
      case FLUSH:
      case SYNC:
        if (length !== 4) throw new ProtocolViolation('malformed Sync or Flush')
        if (type === FLUSH) return PASS
        break
      default:
        break
    }
    const pipeline = this.#pipeline
    if (pipeline.copyIn && type !== SYNC) throw new ProtocolViolation(`message of type ${JSON.stringify(String.fromCharCode(type))} in the middle of COPY data`)
    // The target ignores a Sync while it reads data: it passes, and nothing answers it.
    if (pipeline.copyIn) return PASS
    if (pipeline.exclusive && (type !== SYNC || pipeline.exclusive.kind !== 'execute')) return 'hold'
    pipeline.strayCopy = false
    const { maxCommandBytes } = this.#session.access.config.recording
    if (length > maxCommandBytes) return this.#tooLarge(type, length)
    if (bytes.length - start < whole) return this.#gathering(length, maxCommandBytes)
    return this.#commands.take(type, bytes, start, start + whole)
  }

  #gathering(length: number, max: number): 'more' {
    if (length > max) throw new ProtocolViolation(`a message of ${length} bytes is longer than its kind can be`)
    return 'more'
  }

  #copyData(length: number): 'hold' | Verdict {
    const pipeline = this.#pipeline
    this.#bytes = HEADER
    if (pipeline.copyIn) {
      this.#copy = pipeline.copyIn.copy ?? this.#copy
      this.#dataTo = this.#copy ?? 'dropped'
      this.#dataLeft = length - 4
      pipeline.copyIn.copyMoved()
      return PASS
    }
    if (pipeline.exclusive) return 'hold'
    // A COPY failed while its data was on the way: the target would ignore the rest of it.
    if (!pipeline.strayCopy && !this.#commands.denials.discarding) throw new ProtocolViolation('CopyData outside of COPY')
    this.#dataTo = 'dropped'
    this.#dataLeft = length - 4
    return DROP
  }

  #copyEnds(): 'hold' | Verdict {
    const pipeline = this.#pipeline
    if (pipeline.copyIn) {
      pipeline.copyIn = undefined
      return PASS
    }
    if (pipeline.exclusive) return 'hold'
    if (!pipeline.strayCopy && !this.#commands.denials.discarding) throw new ProtocolViolation('CopyDone or CopyFail outside of COPY')
    pipeline.strayCopy = false
    return DROP
  }

  /** Refused, not trimmed: its bytes are passed over as they come. */
  #tooLarge(type: number, length: number): Verdict {
    this.#skipLeft = 1 + length - HEADER
    this.#bytes = HEADER
    return { ...this.#commands.denials.tooLarge(type, length), drop: true }
  }
}
