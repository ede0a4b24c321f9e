// A statement's text without its literals: what its analysis is remembered by. The text is read as PostgreSQL's scanner reads
// it (src/backend/parser/scan.l). Taken out is only what is one token for certain and can't change, by its value, what the
// statement is. All else stands as it is; and where there is any doubt, so does the whole text.

/** Statements whose strings are values. Elsewhere a string may be code (DO, CREATE FUNCTION), a file, a setting. */
const STRINGS_ARE_VALUES = /^(?:select|insert|update|delete|with|values|merge)$/i
/** A function whose strings say what it does. */
const SPEAKING = 'set_config'
const speaks = (text: string, start: number, end: number) => end - start === SPEAKING.length && text.slice(start, end).toLowerCase() === SPEAKING

/** Parts of words: letters, `_`, and all that is not ASCII; digits and `$` may follow. */
const isWordStart = (c: number) => (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a) || c === 0x5f || c >= 0x80
const isDigit = (c: number) => c >= 0x30 && c <= 0x39
const [TAB, CR, SPACE] = [0x09, 0x0d, 0x20]
const isSpace = (c: number) => c === SPACE || (c >= TAB && c <= CR)
const [DOUBLE_QUOTE, DOLLAR, QUOTE, MINUS, DOT, SLASH, SEMICOLON, BACKSLASH] = [0x22, 0x24, 0x27, 0x2d, 0x2e, 0x2f, 0x3b, 0x5c]
const [AMPERSAND, STAR] = [0x26, 0x2a]
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
    if ((c === MINUS && text.charCodeAt(at + 1) === MINUS) || (c === SLASH && text.charCodeAt(at + 1) === STAR)) {
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

function wordEnd(text: string, at: number): number {
  for (let c = text.charCodeAt(at); isWordStart(c) || isDigit(c) || c === DOLLAR; c = text.charCodeAt(at)) at++
  return at
}

function digitsEnd(text: string, at: number): number {
  while (isDigit(text.charCodeAt(at))) at++
  return at
}

/** The rest of a number that is not a plain one: with a point, an exponent, underscores, or in another base. */
function numberEnd(text: string, at: number): number {
  for (let c = text.charCodeAt(at); isWordStart(c) || isDigit(c) || c === DOT; c = text.charCodeAt(at)) at++
  return at
}

/** Behind the comment; comments of the second kind nest. -1 where it does not end. */
function commentEnd(text: string, at: number): number {
  if (text.charCodeAt(at) === MINUS) {
    for (at += 2; at < text.length; at++) {
      const c = text.charCodeAt(at)
      if (c === 0x0a || c === CR) break
    }
    return at
  }
  for (let depth = 0; at < text.length;) {
    const [one, two] = [text.charCodeAt(at), text.charCodeAt(at + 1)]
    if (one === SLASH && two === STAR) {
      depth++
      at += 2
    } else if (one === STAR && two === SLASH) {
      at += 2
      if (--depth === 0) return at
    } else at++
  }
  return -1
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
