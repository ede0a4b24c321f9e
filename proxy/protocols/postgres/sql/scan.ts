// Pieces of PostgreSQL's scanner (src/backend/parser/scan.l), over UTF-16 code units.

export const [QUOTE, DOUBLE_QUOTE, DOLLAR, MINUS, DOT, SEMICOLON, BACKSLASH, AMPERSAND] = [0x27, 0x22, 0x24, 0x2d, 0x2e, 0x3b, 0x5c, 0x26]
const [SLASH, STAR] = [0x2f, 0x2a]
const [TAB, NEWLINE, CR, SPACE] = [0x09, 0x0a, 0x0d, 0x20]

/** Parts of words: letters, `_`, and all that is not ASCII; digits and `$` may follow. */
export const isWordStart = (c: number): boolean => (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a) || c === 0x5f || c >= 0x80
export const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39
export const isSpace = (c: number): boolean => c === SPACE || (c >= TAB && c <= CR)
export const isNewline = (c: number): boolean => c === NEWLINE || c === CR

export function wordEnd(text: string, at: number): number {
  for (let c = text.charCodeAt(at); isWordStart(c) || isDigit(c) || c === DOLLAR; c = text.charCodeAt(at)) at++
  return at
}

export function digitsEnd(text: string, at: number): number {
  while (isDigit(text.charCodeAt(at))) at++
  return at
}

/** The rest of a number that is not a plain one: with a point, an exponent, underscores, or in another base. */
export function numberEnd(text: string, at: number): number {
  for (let c = text.charCodeAt(at); isWordStart(c) || isDigit(c) || c === DOT; c = text.charCodeAt(at)) at++
  return at
}

/** Whether a comment begins here. */
export function commentBegins(text: string, at: number): boolean {
  const [one, two] = [text.charCodeAt(at), text.charCodeAt(at + 1)]
  return (one === MINUS && two === MINUS) || (one === SLASH && two === STAR)
}

/** Behind the comment; comments of the second kind nest. -1 where it does not end. */
export function commentEnd(text: string, at: number): number {
  if (text.charCodeAt(at) === MINUS) {
    for (at += 2; at < text.length; at++) if (isNewline(text.charCodeAt(at))) break
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
