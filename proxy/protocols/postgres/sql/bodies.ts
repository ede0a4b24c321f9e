// Reads the code in DO and CREATE FUNCTION: SQL, and PL/pgSQL as far as its own parser can without a catalog. What can't be
// read is opaque.
import type { Found } from './facts.ts'
import { at, constant, isBody, parseBody, parseStatements, strings, type Body, type RawStatement } from './parser.ts'
import { asEscapeStrings } from './readings.ts'
import { speaksOfRoles } from './roles.ts'

/** Reads SQL that was found inside other SQL. @throws where it can't be read. */
export type ReadSql = (text: string) => void

interface Code {
  /** DO, or CREATE FUNCTION. */
  of: string
  language: string
  /** Undefined where it is not one text: C has two, and a body of SQL proper is in the tree already. */
  text: string | undefined
}

/** Whether the statement holds code; notes what it does. `escapes`: how plain strings in it are read. */
export function readBody(statement: RawStatement, found: Found, escapes: boolean, read: ReadSql): boolean {
  const code = codeOf(statement.stmt)
  if (!code) return false
  const { facts } = found
  // Code that is run at once, in a language with variables: what it does, its text never tells in full.
  if (code.of === 'DO') facts.opaque.add('DO')
  if (code.text === undefined) return true
  try {
    if (code.language === 'sql') read(code.text)
    else if (code.language === 'plpgsql') visitPlpgsql(parseBody(asPlpgsql(statement, code, escapes)), found, read)
    else throw new Error(`its language is ${code.language}`)
  } catch {
    facts.opaque.add(code.of)
    if (speaksOfRoles(code.text)) found.rolesChanged.add('*')
  }
  return true
}

function codeOf(stmt: Body): Code | undefined {
  const block = at(stmt, 'DoStmt')
  const body = block ?? at(stmt, 'CreateFunctionStmt')
  if (!isBody(body)) return undefined
  const [options, of] = block ? [body.args, 'DO'] : [body.options, 'CREATE FUNCTION']
  const code: Code = { of, language: block ? 'plpgsql' : 'sql', text: undefined }
  for (const option of Array.isArray(options) ? options : []) {
    const arg = at(option, 'DefElem', 'arg')
    const name = at(option, 'DefElem', 'defname')
    if (name === 'language') code.language = String(at(arg, 'String', 'sval'))
    if (name === 'as') {
      const texts = block ? strings([arg]) : strings(at(arg, 'List', 'items'))
      // An object file and a symbol: nothing to read.
      code.text = texts.length === 1 ? texts[0]! : ''
    }
  }
  return code
}

/** The statement as PL/pgSQL's parser takes it, with the strings in its body as this reading has them. */
function asPlpgsql({ text }: RawStatement, { of, text: code = '' }: Code, escapes: boolean): string {
  const body = escapes ? (asEscapeStrings(code) ?? code) : code
  if (of === 'DO') {
    let tag = 'body'
    while (body.includes(`$${tag}$`)) tag += 'y'
    return `DO $${tag}$${body}$${tag}$`
  }
  if (body === code) return text
  if (!text.includes(code)) throw new Error('its body is written with escapes')
  // Everywhere: a copy of it may stand in a comment before it.
  return text.replaceAll(code, () => body)
}

/** PLpgSQL_expr.parseMode (RawParseMode). */
const EXPRESSION = 2

function visitPlpgsql(value: unknown, found: Found, read: ReadSql, dynamic = false): void {
  if (Array.isArray(value)) {
    for (const item of value) visitPlpgsql(item, found, read)
    return
  }
  if (!isBody(value)) return
  for (const name in value) {
    const body = value[name]
    if (name === 'PLpgSQL_expr') expression(body, found, read, dynamic)
    // EXECUTE, FOR … IN EXECUTE, RETURN QUERY EXECUTE, OPEN … FOR EXECUTE: a value that is run as SQL.
    else visitPlpgsql(body, found, read, name === 'dynquery' || (dynamic && name === 'query') || name.startsWith('PLpgSQL_stmt_dyn'))
  }
}

function expression(body: unknown, found: Found, read: ReadSql, dynamic: boolean): void {
  const [query, mode] = [String(at(body, 'query')), Number(at(body, 'parseMode') ?? 0)]
  if (mode < EXPRESSION) read(query)
  else if (mode === EXPRESSION) read(`SELECT ${query}`)
  else {
    const [target, value] = assignment(query)
    read(`SELECT ${target}`)
    read(`SELECT ${value}`)
  }
  if (!dynamic) return
  const run = constantOf(query)
  if (run !== undefined) read(run)
  else {
    found.facts.opaque.add('EXECUTE')
    found.renames = true
    if (speaksOfRoles(query)) found.rolesChanged.add('*')
  }
}

function constantOf(query: string): string | undefined {
  const [only, ...more] = parseStatements(`SELECT ${query}`)
  const targets = at(only?.stmt, 'SelectStmt', 'targetList')
  return more.length === 0 && Array.isArray(targets) && targets.length === 1 ? constant(at(targets[0], 'ResTarget', 'val')) : undefined
}

/** The two sides of an assignment: `a[f(1)].b := c`. @throws where there is no `:=` or `=` outside of brackets. */
function assignment(text: string): [target: string, value: string] {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (c === '[' || c === '(') depth++
    else if (c === ']' || c === ')') depth--
    else if (depth === 0 && c === '=') return [text.slice(0, text[i - 1] === ':' ? i - 1 : i), text.slice(i + 1)]
  }
  throw new Error('an assignment without a value')
}
