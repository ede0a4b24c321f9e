// A statement's text without its literals: what its analysis is remembered by. The text is read as PostgreSQL's scanner reads
// it (src/backend/parser/scan.l). Taken out is only what is one token for certain and can't change, by its value, what the
// statement is. All else stands as it is; and where there is any doubt, so does the whole text.

import {
  AMPERSAND,
  BACKSLASH,
  commentBegins,
  commentEnd,
  digitsEnd,
  DOLLAR,
  DOT,
  DOUBLE_QUOTE,
  isDigit,
  isSpace,
  isWordStart,
  numberEnd,
  QUOTE,
  SEMICOLON,
  wordEnd,
} from './scan.ts'

/** Statements whose strings are values. Elsewhere a string may be code (DO, CREATE FUNCTION), a file, a setting. */
const STRINGS_ARE_VALUES = /^(?:select|insert|update|delete|with|values|merge)$/i
/** A function whose strings say what it does. */
const SPEAKING = 'set_config'
const speaks = (text: string, start: number, end: number) => end - start === SPEAKING.length && text.slice(start, end).toLowerCase() === SPEAKING

const [B, E, N, U, X] = [0x62, 0x65, 0x6e, 0x75, 0x78]
/** Longer ones may not be an int4 (ICONST). */
const MAX_DIGITS = 9

/** The text without its literals; the text itself where it can't be told what is one. */
export function withoutLiterals(text: string): string {
  const { length } = text
  let key = ''
  let kept = 0
  let words = 0
  let strings = false
  let ended = false
  for (let at = 0; at < length;) {
    const c = text.charCodeAt(at)
    if (isSpace(c)) {
      at++
      continue
    }
    if (commentBegins(text, at)) {
      at = commentEnd(text, at)
      if (at === -1) return text
      continue
    }
    // A second statement: its strings may be more than values.
    if (ended) strings = false
    if (isWordStart(c)) {
      const start = at
      at = wordEnd(text, at)
      const next = text.charCodeAt(at)
      if (at === start + 1) {
        const letter = c | 0x20
        // U&'…' and U&"…" mean what an UESCAPE behind them says; in B'…' and X'…' two quotes are not one.
        if (letter === U && next === AMPERSAND) return text
        if (next === QUOTE && (letter === B || letter === X)) return text
        if (next === QUOTE && (letter === E || letter === N)) continue
      }
      if (words++ === 0) strings = STRINGS_ARE_VALUES.test(text.slice(start, at))
      else if (speaks(text, start, at)) strings = false
      continue
    }
    switch (c) {
      case QUOTE: {
        const end = stringEnd(text, at)
        if (end === -1 || !strings) return text
        key += `${text.slice(kept, at)}''`
        kept = at = end
        continue
      }
      case DOUBLE_QUOTE: {
        const end = text.indexOf('"', at + 1)
        if (end === -1) return text
        if (speaks(text, at + 1, end)) strings = false
        at = end + 1
        continue
      }
      case DOLLAR: {
        // A parameter; otherwise a dollar quote.
        const end = digitsEnd(text, at + 1)
        const next = text.charCodeAt(end)
        if (end === at + 1 || next === DOLLAR || isWordStart(next)) return text
        at = end
        continue
      }
      case BACKSLASH:
        return text
      case SEMICOLON:
        ended = true
        at++
        continue
      default:
        break
    }
    if (!isDigit(c)) {
      at++
      continue
    }
    const end = digitsEnd(text, at)
    const next = text.charCodeAt(end)
    if (next === DOT || isWordStart(next) || text.charCodeAt(at - 1) === DOT || end - at > MAX_DIGITS) {
      at = numberEnd(text, end)
      continue
    }
    key += `${text.slice(kept, at)}0`
    kept = at = end
  }
  return kept === 0 ? text : key + text.slice(kept)
}

/** Behind the closing quote; -1 where there is none, or where a backslash could mean something. */
function stringEnd(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at++) {
    const c = text.charCodeAt(at)
    if (c === BACKSLASH) return -1
    if (c !== QUOTE) continue
    if (text.charCodeAt(at + 1) !== QUOTE) return at + 1
    at++
  }
  return -1
}
