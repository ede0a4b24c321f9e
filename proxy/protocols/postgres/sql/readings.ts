// The second reading of a text: with standard_conforming_strings off, a backslash in a plain string constant is an escape
// (PostgreSQL documentation, 4.1.2.2). Which setting holds when the server reads a text, can't be known for certain before.
import {
  AMPERSAND,
  BACKSLASH,
  commentBegins,
  commentEnd,
  digitsEnd,
  DOLLAR,
  DOUBLE_QUOTE,
  isDigit,
  isNewline,
  isSpace,
  isWordStart,
  MINUS,
  numberEnd,
  QUOTE,
  wordEnd,
} from './scan.ts'

const [B, E, N, U, X] = [0x62, 0x65, 0x6e, 0x75, 0x78]

/**
 * The text with every plain string constant written as an escape string, so that a parser for which the setting is on reads
 * it as one for which it is off. Undefined where no plain string has a backslash, so that both readings are the same.
 * @throws where a string or comment does not end: so read, it is no SQL.
 */
export function asEscapeStrings(text: string): string | undefined {
  if (!text.includes('\\')) return undefined
  let out = ''
  let kept = 0
  let differs = false
  for (let at = 0; at < text.length;) {
    const c = text.charCodeAt(at)
    if (commentBegins(text, at)) {
      at = ended(commentEnd(text, at))
      continue
    }
    if (isWordStart(c)) {
      const end = wordEnd(text, at)
      const next = text.charCodeAt(end)
      const letter = end === at + 1 ? c | 0x20 : 0
      if (letter === E && next === QUOTE) at = stringEnd(text, end, true).end
      else if ((letter === B || letter === X) && next === QUOTE) at = stringEnd(text, end, false).end
      else if (letter === N && next === QUOTE) {
        // N'…' is the word NCHAR and a plain string.
        out += `${text.slice(kept, at)}nchar `
        kept = at = end
      } else if (letter === U && next === AMPERSAND && text.charCodeAt(end + 1) === QUOTE) at = stringEnd(text, end + 1, false).end
      else at = end
      continue
    }
    if (c === QUOTE) {
      const { end, backslash } = stringEnd(text, at, true)
      differs ||= backslash
      out += `${text.slice(kept, at)} E`
      kept = at
      at = end
    } else if (c === DOUBLE_QUOTE) at = ended(text.indexOf('"', at + 1) + 1)
    else if (c === DOLLAR) at = dollarEnd(text, at)
    else if (isDigit(c)) at = numberEnd(text, at)
    else at++
  }
  return differs ? out + text.slice(kept) : undefined
}

function ended(at: number): number {
  if (at <= 0) throw new Error('a string or comment does not end')
  return at
}

/** Behind the string that opens here, the ones that continue it included; and whether it has a backslash. */
function stringEnd(text: string, open: number, escapes: boolean): { end: number; backslash: boolean } {
  let backslash = false
  for (let at = open + 1; at < text.length; at++) {
    const c = text.charCodeAt(at)
    if (c === BACKSLASH) {
      backslash = true
      if (escapes) at++
    } else if (c === QUOTE) {
      if (text.charCodeAt(at + 1) === QUOTE) at++
      else {
        const next = continuation(text, at + 1)
        if (next === undefined) return { end: at + 1, backslash }
        at = next
      }
    }
  }
  return { end: ended(-1), backslash }
}

/** The quote that continues the string (scan.l, `quotecontinue`): blanks with a line break between, and comments of the first kind. */
function continuation(text: string, at: number): number | undefined {
  let broken = false
  while (at < text.length) {
    const c = text.charCodeAt(at)
    if (c === QUOTE) return broken ? at : undefined
    if (isSpace(c)) {
      broken ||= isNewline(c)
      at++
    } else if (c === MINUS && text.charCodeAt(at + 1) === MINUS) at = commentEnd(text, at)
    else return undefined
  }
  return undefined
}

/** Behind a parameter, a dollar-quoted string, or a lone dollar. */
function dollarEnd(text: string, at: number): number {
  const digits = digitsEnd(text, at + 1)
  if (digits > at + 1) return digits
  const tagEnd = isWordStart(text.charCodeAt(at + 1)) ? tagWordEnd(text, at + 1) : at + 1
  if (text.charCodeAt(tagEnd) !== DOLLAR) return at + 1
  const tag = text.slice(at, tagEnd + 1)
  const close = text.indexOf(tag, tagEnd + 1)
  return ended(close === -1 ? -1 : close + tag.length)
}

function tagWordEnd(text: string, at: number): number {
  while (isWordStart(text.charCodeAt(at)) || isDigit(text.charCodeAt(at))) at++
  return at
}
