// Finds what must not be stored in a statement: `PASSWORD '…'` in every spelling of a string constant (PostgreSQL, "String
// Constants", 4.1.2.1–4), and connection strings inside string constants. Where two readings of a literal differ, both are found.
import { connectionSecrets, type Range, type Redactor } from '../../../record/redactor.ts'

const WORD = /[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y
const DOLLAR_TAG = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y

/** The statement as it may be stored. Linear in its length. */
export function redactSql(text: string, redactor: Redactor): string {
  return redactor.redact(text, /password|:\/\//i.test(text) ? secretsOf(text) : [])
}

/** What an error says, as it may be stored: it quotes the text where that is wrong, and may quote a literal. */
export function redactError(message: string, redactor: Redactor): string {
  return redactSql(message.replace(/ at or near "(?:(?:[eEbBxXnN]|[uU]&)?'|\$)[^]*"/, ' at or near a literal'), redactor)
}

/** Where the secrets are, in order. What stands for a literal keeps its quotes. */
function secretsOf(text: string): Range[] {
  const secrets: Range[] = []
  let afterPassword = false
  for (let at = 0; at < text.length;) {
    const next = skipBlank(text, at)
    if (next > at) {
      at = next
      continue
    }
    const literal = literalEnd(text, at)
    if (literal !== undefined) {
      if (afterPassword) secrets.push({ from: at, to: literal, literal: true })
      else secrets.push(...secretsInside(text, at, literal))
      at = literal
      afterPassword = false
      continue
    }
    WORD.lastIndex = at
    const word = WORD.exec(text)?.[0]
    if (word !== undefined) {
      afterPassword = word.toLowerCase() === 'password'
      at += word.length
      continue
    }
    afterPassword = false
    at = text[at] === '"' ? quotedEnd(text, at, '"', false) : at + 1
  }
  return secrets
}

/**
 * In a string that holds SQL (of a DO block, of EXECUTE), all that follows the word is taken, up to the literal's end. The pattern
 * is bounded, so that a text made for it can't hold up everyone else.
 */
function secretsInside(text: string, from: number, to: number): readonly Range[] {
  const literal = text.slice(from, to)
  const inside = /password(?:\s|\/\*[^*]{0,200}\*\/){0,100}(?:''|\\'|'|\$|\|\||e''|u&'')/i.exec(literal)
  const close = /(?:'|\$[^$]*\$)$/.exec(literal)?.[0] ?? ''
  const connections = connectionSecrets(text, from, to - close.length)
  return inside ? [...connections, { from: from + inside.index + 'password'.length, to: to - close.length, literal: false }] : connections
}

function skipBlank(text: string, at: number): number {
  let i = at
  while (i < text.length && /\s/.test(text[i]!)) i++
  if (text.startsWith('--', i)) {
    const end = text.indexOf('\n', i)
    return end === -1 ? text.length : end + 1
  }
  if (!text.startsWith('/*', i)) return i
  let depth = 1
  for (i += 2; i < text.length && depth > 0;) {
    if (text.startsWith('/*', i)) {
      depth++
      i += 2
    } else if (text.startsWith('*/', i)) {
      depth--
      i += 2
    } else i++
  }
  return i
}

/** Where the string constant that begins here ends; undefined where none does. */
function literalEnd(text: string, at: number): number | undefined {
  const prefix = /^(?:[uU]&|[eEbBxXnN])?'/.exec(text.slice(at, at + 3))?.[0]
  if (prefix !== undefined) {
    const open = at + prefix.length - 1
    const escapes = /^[eE]/.test(prefix)
    let end = quotedEnd(text, open, "'", escapes)
    // With standard_conforming_strings off a plain literal has escapes too: take the reading that hides more.
    if (prefix === "'" && text.slice(open, end).includes('\\')) end = Math.max(end, quotedEnd(text, open, "'", true))
    for (let next = continuation(text, end); next !== undefined; next = continuation(text, end)) end = quotedEnd(text, next, "'", escapes)
    return end
  }
  DOLLAR_TAG.lastIndex = at
  const tag = DOLLAR_TAG.exec(text)?.[0]
  if (tag === undefined) return undefined
  const end = text.indexOf(tag, at + tag.length)
  return end === -1 ? text.length : end + tag.length
}

/** A literal goes on in another one where only blanks with a line break, and comments, stand between. */
function continuation(text: string, end: number): number | undefined {
  let at = end
  for (let next = skipBlank(text, at); next > at; next = skipBlank(text, at)) at = next
  return text[at] === "'" && /[\r\n]/.test(text.slice(end, at)) ? at : undefined
}

function quotedEnd(text: string, open: number, quote: string, escapes: boolean): number {
  for (let i = open + 1; i < text.length; i++) {
    if (escapes && text[i] === '\\') i++
    else if (text[i] === quote) {
      if (text[i + 1] !== quote) return i + 1
      i++
    }
  }
  return text.length
}
