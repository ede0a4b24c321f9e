// Writes the lines of one log: sequence, chain, and the signatures over it. Where the lines go is the sink's.
import { chainStart, type ChainKind } from './chain.ts'
import type { Signer } from './keys.ts'
import { PREV_DIGITS } from './log-walker.ts'
import { checkpointText, gapText, ledgerHeadText } from './signed-text.ts'

export interface LineSink {
  /** Appends one line (without LF) and returns the chain's value after it. `previous` is the value before it. Both in hex. */
  append(log: LogWriter, previous: string, line: string): string
}

/** A log as it stood after some line: where writing goes on from. */
export interface LogPosition {
  seq: number
  head: Buffer
  /** `through` of the last checkpoint or head; 0 before the first. */
  signedThrough: number
}

let cachedMs = 0
let cachedTime = ''

/** RFC 3339, UTC, milliseconds. */
export function timestamp(ms: number): string {
  if (ms !== cachedMs) {
    cachedMs = ms
    cachedTime = new Date(ms).toISOString()
  }
  return cachedTime
}

export class LogWriter {
  readonly kind: ChainKind
  readonly id: string
  /** The id's 16 bytes, as a spool frame carries them. */
  readonly idBytes: Buffer
  /** Milliseconds since the epoch when the first line after the last signature was written; 0 where there is none. */
  unsignedSince = 0
  /** Whose share of the spool its lines are, where there are shares. */
  account: { add(bytes: number): void } | undefined
  readonly #sink: LineSink
  readonly #signer: Signer
  #seq: number
  /** Hex: a line and its signature want it so, and text costs less than a buffer. */
  #head: string
  #signedThrough: number
  #unsigned = 0

  constructor(kind: ChainKind, id: string, sink: LineSink, signer: Signer, position?: LogPosition) {
    this.kind = kind
    this.id = id
    this.idBytes = Buffer.from(id.replaceAll('-', ''), 'hex')
    this.#sink = sink
    this.#signer = signer
    this.#seq = position?.seq ?? 0
    this.#head = (position?.head ?? chainStart(kind, id)).toString('hex')
    this.#signedThrough = position?.signedThrough ?? 0
  }

  get seq(): number {
    return this.#seq
  }

  /** The chain's value after the last line, in hex. */
  get head(): string {
    return this.#head
  }

  /** Lines since the last signature, the line that carries it not counted. */
  get unsigned(): number {
    return this.#unsigned
  }

  /**
   * Appends a line and returns its sequence number. `fields` is the rest of the JSON object, each field with a comma
   * before it: this is called for every command, and building text is what is fast.
   */
  write(kind: string, now: number, fields: string): number {
    const seq = ++this.#seq
    const prev = this.#head.slice(0, PREV_DIGITS)
    this.#head = this.#sink.append(
      this,
      this.#head,
      `{"seq":${seq},"kind":"${kind}","${this.kind}":"${this.id}","prev":"${prev}","time":"${timestamp(now)}"${fields}}`,
    )
    if (this.#unsigned++ === 0) this.unsignedSince = now
    return seq
  }

  /** Signs everything so far. `copies`: bulk data in flight, as JSON, or undefined. */
  checkpoint(now: number, copies?: string, adopted = false): number {
    const head = this.#head
    const through = this.#seq
    const claim = adopted ? ({ mode: 'adopted', adoptedFrom: this.#signedThrough + 1 } as const) : ({ mode: 'live' } as const)
    const sig = this.#signer.sign(checkpointText({ session: this.id, through, head, ...claim }))
    const from = adopted ? `,"adoptedFrom":${this.#signedThrough + 1}` : ''
    const seq = this.write(
      'checkpoint',
      now,
      `,"through":${through},"head":"${head}","mode":"${claim.mode}"${from}${copies ? `,"copies":${copies}` : ''},"key":"${this.#signer.keyId}","sig":"${sig}"`,
    )
    this.#markSigned(through)
    return seq
  }

  /** The signed head of a ledger; `n` is the last session number it knows. */
  ledgerHead(now: number, n: number): number {
    const head = this.#head
    const through = this.#seq
    const sig = this.#signer.sign(ledgerHeadText({ ledger: this.id, through, n, head }))
    const seq = this.write('head', now, `,"through":${through},"n":${n},"head":"${head}","key":"${this.#signer.keyId}","sig":"${sig}"`)
    this.#markSigned(through)
    return seq
  }

  /** A line that stands for lost ones: the next one is `through` + 1, chained to `chain`. */
  damage(now: number, through: number, chain: Buffer, reason: string): void {
    const before = this.#head
    const claim = { log: this.id, seq: this.#seq + 1, through, before, chain: chain.toString('hex') }
    const sig = this.#signer.sign(gapText(claim))
    this.write(
      'gap',
      now,
      `,"reason":${JSON.stringify(reason)},"through":${through},"before":"${before}","chain":"${claim.chain}","key":"${this.#signer.keyId}","sig":"${sig}"`,
    )
    this.#seq = through
    this.#head = claim.chain
  }

  #markSigned(through: number): void {
    this.#signedThrough = through
    this.#unsigned = 0
    this.unsignedSince = 0
  }
}
