// What is taken out before anything is written: the patterns of the access, and passwords in connection strings.
import { RE2JS } from 're2js'

const REDACTED = '[REDACTED]'
/** A value above this is taken out whole where there are patterns: to search it would hold up every other session. */
const MAX_SEARCHED = 64 * 1024

/** UTF-16 offsets. */
export interface Range {
  from: number
  to: number
  /** It is a whole string constant: what stands for it has quotes. */
  literal?: boolean
}

export class Redactor {
  static readonly none = new Redactor([])
  readonly patterns: readonly string[]
  readonly #patterns: RE2JS[]
  readonly #maxSearched: number

  /** `patterns`: RE2. A longer text than `maxSearched` is taken out whole. @throws where a pattern does not compile, naming it. */
  constructor(patterns: readonly string[], maxSearched = MAX_SEARCHED) {
    this.patterns = patterns
    this.#maxSearched = maxSearched
    this.#patterns = patterns.map((pattern) => {
      try {
        return RE2JS.compile(pattern)
      } catch (error) {
        throw new Error(`not RE2: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      }
    })
  }

  /** The text without what the patterns match, without the passwords of connection strings, and without `secrets`. */
  redact(text: string, secrets: readonly Range[] = connectionSecrets(text, 0, text.length)): string {
    const ranges = this.#ranges(text, secrets)
    return ranges.length === 0 ? text : without(text, ranges)
  }

  /** The text as it is redacted where `before` stands in front of it: what began there ends here. */
  redactAfter(before: string, text: string): string {
    const whole = before + text
    const within = this.#ranges(whole, connectionSecrets(whole, 0, whole.length)).flatMap(({ from, to }) =>
      to > before.length ? [{ from: Math.max(0, from - before.length), to: to - before.length }] : [],
    )
    return within.length === 0 ? text : without(text, within)
  }

  /** A value as JSON has it, every string in it redacted. */
  value(value: unknown): unknown {
    if (typeof value === 'string') return this.redact(value)
    if (Array.isArray(value)) return value.map((item) => this.value(item))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, this.value(item)]))
  }

  #ranges(text: string, secrets: readonly Range[]): readonly Range[] {
    return this.#patterns.length === 0 ? secrets : [...secrets, ...this.#matches(text)]
  }

  #matches(text: string): Range[] {
    if (text.length > this.#maxSearched) return [{ from: 0, to: text.length }]
    const ranges: Range[] = []
    for (const pattern of this.#patterns) {
      const matcher = pattern.matcher(text)
      while (matcher.find()) if (matcher.end() > matcher.start()) ranges.push({ from: matcher.start(), to: matcher.end() })
    }
    return ranges
  }
}

/** Overlapping ranges become one. */
function without(text: string, ranges: readonly Range[]): string {
  let out = ''
  let at = 0
  for (const { from, to, literal } of ranges.toSorted((a, b) => a.from - b.from || b.to - a.to)) {
    if (to <= at) continue
    if (from >= at) out += text.slice(at, from) + (literal ? `'${REDACTED}'` : REDACTED)
    at = to
  }
  return out + text.slice(at)
}

/**
 * Passwords in connection strings between two offsets: `scheme://user:secret@host`, `password=secret` (libpq, "Connection Strings",
 * 32.1.1; also `Password=secret;`, `?password=secret&`). Linear in the length.
 */
export function connectionSecrets(text: string, from: number, to: number): readonly Range[] {
  // Most values are no connection string.
  if (!text.includes('=', from) && !text.includes('://', from)) return none
  const secrets: Range[] = []
  for (let at = text.indexOf('://', from); at !== -1 && at < to;) {
    const end = endOf(text, at + 3, to, ENDS_WORD)
    const word = text.slice(at + 3, end)
    // A password with a slash or an @ that is not written as %2F or %40 still ends at the last @.
    const [colon, host] = [word.indexOf(':'), word.lastIndexOf('@')]
    if (colon !== -1 && colon < host) secrets.push({ from: at + 3 + colon + 1, to: at + 3 + host })
    at = text.indexOf('://', end)
  }
  const key = /\b(?:password|passwd|pwd)\s*=\s*/gi
  key.lastIndex = from
  for (let match = key.exec(text); match && key.lastIndex < to; match = key.exec(text)) {
    const start = key.lastIndex
    const quote = /^(?:''|\\'|'|")/.exec(text.slice(start, Math.min(to, start + 2)))?.[0]
    const end = quote === undefined ? endOf(text, start, to, ENDS_VALUE) : quotedEnd(text, start + quote.length, to, quote)
    if (end > start) secrets.push({ from: start, to: end })
    key.lastIndex = end
  }
  return secrets
}

const none: readonly Range[] = []

const ENDS_WORD: ReadonlySet<string> = new Set([' ', '\t', '\n', '\r', "'", '"', '<', '>'])
const ENDS_VALUE: ReadonlySet<string> = new Set([...ENDS_WORD, '&', ';', ')', ','])

function endOf(text: string, from: number, to: number, ends: ReadonlySet<string>): number {
  let at = from
  while (at < to && !ends.has(text[at]!)) at++
  return at
}

/** Behind the closing quote; all of it where there is none. */
function quotedEnd(text: string, from: number, to: number, quote: string): number {
  for (let at = from; at < to; at++) {
    // Inside a literal of SQL a backslash may itself be doubled: it hides more to pass over one character only.
    if (text[at] === '\\' && quote !== "\\'") at++
    else if (text.startsWith(quote, at)) return Math.min(to, at + quote.length)
  }
  return to
}
