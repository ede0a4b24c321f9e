// Walks the lines of one log, a session's or a ledger's, and checks what both have: sequence, chain, gaps. What a line
// means is for the caller to judge.
import { chainNext, chainStart, type ChainKind } from './chain.ts'
import { gapText } from './signed-text.ts'

export type Line = Record<string, unknown> & { kind: string; seq: number }

/** The record is not what was recorded. `seq` is the first event that is wrong or missing. */
export class AlteredError extends Error {
  readonly seq: number

  constructor(seq: number, message: string) {
    super(message)
    this.name = 'AlteredError'
    this.seq = seq
  }
}

/** Whether a signature by the key with that id holds. Throws nothing. */
export type SignatureCheck = (key: unknown, text: string, signature: unknown) => 'holds' | 'unknown key' | 'wrong'

const utf8 = new TextDecoder('utf-8', { fatal: true })
export const PREV_DIGITS = 16

export class LogWalker {
  readonly kind: ChainKind
  readonly id: string
  readonly #signed: SignatureCheck
  #seq = 0
  #head: Buffer
  #lost: { from: number; through: number }[] = []

  constructor(kind: ChainKind, id: string, signed: SignatureCheck) {
    this.kind = kind
    this.id = id
    this.#signed = signed
    this.#head = chainStart(kind, id)
  }

  /** Of the last line that was walked; 0 before the first. */
  get seq(): number {
    return this.#seq
  }

  /** h of the last line that was walked, hex. */
  get head(): string {
    return this.#head.toString('hex')
  }

  /** Ranges that the log itself says are lost. */
  get lost(): readonly { from: number; through: number }[] {
    return this.#lost
  }

  /**
   * Takes the next line. `headBefore` is the chain's value before it, which is what a checkpoint signs.
   * @throws AlteredError
   */
  next(bytes: Buffer): { line: Line; headBefore: string } {
    const expected = this.#seq + 1
    const line = this.#parse(bytes, expected)
    if (line.seq !== expected) {
      throw new AlteredError(
        expected,
        line.seq > expected ? `events ${expected} to ${line.seq - 1} are missing` : `event ${line.seq} stands where event ${expected} belongs`,
      )
    }
    const headBefore = this.head
    if (line.prev !== headBefore.slice(0, PREV_DIGITS)) {
      const wrong = Math.max(1, expected - 1)
      throw new AlteredError(wrong, `event ${wrong} is not the one that was recorded: event ${expected} is chained to another`)
    }
    if (line.kind === 'gap' && line.chain !== undefined) this.#crossDamage(line, headBefore)
    else {
      this.#head = chainNext(this.#head, bytes)
      this.#seq = expected
    }
    return { line, headBefore }
  }

  #parse(bytes: Buffer, expected: number): Line {
    let line: unknown
    try {
      line = JSON.parse(utf8.decode(bytes))
    } catch {
      throw new AlteredError(expected, `event ${expected} is not a JSON object in UTF-8`)
    }
    if (
      typeof line !== 'object' ||
      line === null ||
      !('kind' in line) ||
      typeof line.kind !== 'string' ||
      !('seq' in line) ||
      !Number.isSafeInteger(line.seq)
    ) {
      throw new AlteredError(expected, `event ${expected} has no kind or no sequence number`)
    }
    if ((line as Record<string, unknown>)[this.kind] !== this.id) throw new AlteredError(expected, `event ${expected} belongs to another ${this.kind}`)
    return line as Line
  }

  /** The spool was damaged here: the chain restarts from a value that the gap carries, under a signature of its own. */
  #crossDamage(line: Line, before: string): void {
    const { through, chain } = line
    if (typeof through !== 'number' || !Number.isSafeInteger(through) || through < line.seq || typeof chain !== 'string' || line.before !== before) {
      throw new AlteredError(line.seq, `the gap at ${line.seq} is malformed`)
    }
    const text = gapText({ log: this.id, seq: line.seq, through, before, chain })
    if (this.#signed(line.key, text, line.sig) === 'wrong') throw new AlteredError(line.seq, `the gap at ${line.seq} is not signed by the key it names`)
    if (this.#signed(line.key, text, line.sig) === 'unknown key')
      throw new AlteredError(line.seq, `the gap at ${line.seq} is signed by a key that is not trusted: ${String(line.key)}`)
    this.#lost.push({ from: line.seq, through })
    this.#head = Buffer.from(chain, 'hex')
    this.#seq = through
  }
}
