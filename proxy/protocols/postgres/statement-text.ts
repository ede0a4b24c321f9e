// The text of a statement, read: what it means, and what of it may be recorded.
import type { Redactor } from '../../record/redactor.ts'
import { decodeText } from './decode-text.ts'
import { analyse, remember, remembered } from './sql/analyse.ts'
import { unreadable, type Analysis } from './sql/facts.ts'
import { parserBroken } from './sql/parser.ts'
import { readLarge } from './sql/read-large.ts'
import { redactSql } from './sql/redact.ts'

export interface StatementText {
  text: string
  /** It is not UTF-8, and stands byte for byte as Latin-1. */
  binary: boolean
  analysis: Analysis
  /** The text without what is not to be recorded. */
  recorded: string
}

interface Large {
  bytes: number
  text: string
  done: StatementText | undefined
  promise: Promise<void>
}

/**
 * UTF-16 code units. Reading this much takes about a millisecond, in which nothing else happens; and it can't be nested so deep
 * that the parser's stack overflows (that takes 18 K).
 */
export const LARGE = 8 * 1024

export class TextReader {
  #large: Large | undefined

  /** Resolves when a text that is waited for has been read. */
  get waiting(): Promise<void> | undefined {
    return this.#large && !this.#large.done ? this.#large.promise : undefined
  }

  /** `hold`: it is being read elsewhere; asked again with the same text, and only with that, it has the answer. */
  read(bytes: Buffer, redactor: Redactor): StatementText | 'hold' {
    // Most probably it is the same; where it is not, that is seen when the answer is there.
    if (this.#large && !this.#large.done && this.#large.bytes === bytes.length) return 'hold'
    const { text, binary } = decodeText(bytes)
    if (this.#large && this.#large.text === text) return this.#large.done ?? 'hold'
    if (text.length <= LARGE && !parserBroken) return { text, binary, analysis: binary ? notUtf8 : analyse(text), recorded: redactSql(text, redactor) }
    // To search it for many patterns takes long, too.
    const known = binary || redactor.patterns.length > 0 ? undefined : remembered(text)
    if (known) return { text, binary, analysis: known, recorded: redactSql(text, redactor) }
    const large: Large = { bytes: bytes.length, text, done: undefined, promise: Promise.resolve() }
    large.promise = readLarge(text, redactor).then(({ analysis, recorded }) => {
      if (!binary) remember(text, analysis)
      large.done = { text, binary, analysis: binary ? { ...analysis, ...notUtf8 } : analysis, recorded }
    })
    this.#large = large
    return 'hold'
  }

  /** The message that the text came in has been judged: the next text is another one. */
  judged(): void {
    this.#large = undefined
  }
}

const notUtf8 = unreadable('it is not UTF-8')
