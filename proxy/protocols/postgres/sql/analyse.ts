// Reads a statement with PostgreSQL's own parser: what it does, as far as its text tells.
import { setFlagsFromString } from 'node:v8'
import { loadModule, parseSync } from 'libpg-query'
import { catalogFunctions } from './catalog-functions.generated.ts'
import { HARMLESS_TO_NAMES, operationOf } from './operations.ts'
import { withoutLiterals } from './without-literals.ts'

export interface Analysis {
  /** Every statement kind in the text, those inside CTEs, EXPLAIN, COPY and PREPARE included; sorted, each once. */
  operations: string[]
  /** How many statements a simple Query of this text has; undefined where the text can't be read. */
  statements: number | undefined
  /** Why the text can't be read. */
  unreadable?: string
  /** Whether running it can change what names of statements and portals mean. */
  renames: boolean
  /** Whether it can make the server ask for data. */
  copiesIn: boolean
  /** The roles whose password or validity it changes; `CURRENT_USER` and its like as the key word. */
  passwordOf: string[]
}

/** Above this the parser would need hundreds of megabytes that WebAssembly never gives back. */
const MAX_PARSED_CHARACTERS = 1024 * 1024
const CACHED_CHARACTERS = 4 * 1024 * 1024
const LONGEST_CACHED = 8 * 1024

// Node 24's optimising compiler takes 550 MB for the parser's largest function, and 50 MB that stay, to make a parse a
// fifth faster; what is parsed is remembered anyway. Two flags, because V8 derives the one from the other only at its start.
setFlagsFromString('--no-wasm-tier-up')
setFlagsFromString('--no-wasm-dynamic-tiering')

/** Must have resolved before `analyse` is called. */
export const parserReady: Promise<void> = loadModule()

const cache = new Map<string, Analysis>()
let cachedCharacters = 0

export function analyse(text: string): Analysis {
  if (text.length > LONGEST_CACHED) return parse(text)
  const key = withoutLiterals(text)
  const known = cache.get(key)
  if (known) return known
  const analysis = parse(text)
  // Another literal may be readable where this one was not: one agent's mistake must not deny what another sends.
  if (analysis.unreadable !== undefined) return analysis
  if (cachedCharacters > CACHED_CHARACTERS) {
    cache.clear()
    cachedCharacters = 0
  }
  cache.set(key, analysis)
  cachedCharacters += key.length + 200
  return analysis
}

/** As analyse, without what it remembers: for tests. */
export const analyseAfresh = (text: string): Analysis => parse(text)

/** For what is not SQL, or not to be read: it may do anything. */
export function unreadable(why: string): Analysis {
  return { operations: [], statements: undefined, unreadable: why, renames: true, copiesIn: true, passwordOf: [] }
}

function parse(text: string): Analysis {
  if (text.length > MAX_PARSED_CHARACTERS) return withRoleWords(text, unreadable(`it is longer than ${MAX_PARSED_CHARACTERS} characters`))
  if (isBlank(text)) return { operations: [], statements: 0, renames: false, copiesIn: false, passwordOf: [] }
  const found: Found = { operations: new Set(), valuesOfInsert: new Set(), renames: false, copiesIn: false, passwordOf: [] }
  let statements: unknown[] | undefined
  try {
    statements = parseSync(text).stmts
    visit(statements, found)
  } catch (error) {
    // Also what is nested too deep for the parser, or for the walk through its tree.
    return withRoleWords(text, unreadable(error instanceof Error ? error.message : String(error)))
  }
  const operations = [...found.operations].sort()
  return {
    operations,
    statements: statements?.length ?? 0,
    renames: found.renames || operations.some((operation) => !HARMLESS_TO_NAMES.has(operation)),
    copiesIn: found.copiesIn,
    passwordOf: found.passwordOf,
  }
}

/** Only spaces, semicolons and comments of one line: the parser has no answer for an empty text. */
const isBlank = (text: string): boolean => /^(?:[\s;]|--[^\n]*(?:\n|$))*$/.test(text)

/** A text that PostgreSQL might read where we can't, and that speaks of roles, counts as changing every password. */
function withRoleWords(text: string, analysis: Analysis): Analysis {
  const speaksOfRoles = /\b(?:alter|create)\b/i.test(text) && /\b(?:role|user|group)\b/i.test(text)
  return speaksOfRoles ? { ...analysis, passwordOf: ['*'] } : analysis
}

interface Found {
  operations: Set<string>
  /** `VALUES` of an INSERT, which the parser calls a SELECT. */
  valuesOfInsert: Set<unknown>
  renames: boolean
  copiesIn: boolean
  passwordOf: string[]
}

function visit(value: unknown, found: Found): void {
  if (Array.isArray(value)) {
    for (const item of value) visit(item, found)
    return
  }
  if (typeof value !== 'object' || value === null) return
  const node = value as Record<string, unknown>
  // Not Object.entries: this runs for every node of every new statement.
  for (const name in node) {
    const body = node[name]
    if (typeof body !== 'object' || body === null) continue
    if (!Array.isArray(body)) note(name, body as Record<string, unknown>, found)
    visit(body, found)
  }
}

function note(name: string, body: Record<string, unknown>, found: Found): void {
  const operation = operationOf(name, body)
  if (operation !== undefined && !found.valuesOfInsert.has(body)) found.operations.add(operation)
  switch (name) {
    case 'FuncCall':
      if (!isCatalogFunction(strings(body.funcname))) found.renames = true
      break
    case 'CopyStmt':
      if (body.is_from === true && body.filename === undefined) found.copiesIn = true
      break
    case 'InsertStmt': {
      const select = path(body, 'selectStmt', 'SelectStmt')
      if (path(select, 'valuesLists') !== undefined) found.valuesOfInsert.add(select)
      break
    }
    case 'intoClause':
      // SELECT … INTO is a CREATE that the parser calls a SELECT.
      found.operations.add('CREATE')
      break
    case 'RenameStmt':
      // Renaming a role clears an md5 password, and ends its log-ins either way.
      if (body.renameType === 'OBJECT_ROLE') found.passwordOf.push(String(body.subname))
      break
    case 'AlterRoleStmt':
    case 'CreateRoleStmt':
      notePassword(body, found)
      break
    case 'DoStmt':
      noteRoleWordsIn(body, found)
      break
    default:
      break
  }
}

const CREDENTIAL_OPTIONS = new Set(['password', 'validUntil'])

function notePassword(body: Record<string, unknown>, found: Found): void {
  const options = Array.isArray(body.options) ? body.options : []
  const touches = options.some((option: unknown) => CREDENTIAL_OPTIONS.has(String(path(option, 'DefElem', 'defname'))))
  if (!touches) return
  const role = path(body, 'role', 'rolename')
  found.passwordOf.push(typeof role === 'string' ? role : typeof body.role === 'string' ? body.role : 'CURRENT_USER')
}

/** A DO block is text to the parser. One that speaks of a role and its password counts as changing it. */
function noteRoleWordsIn(body: Record<string, unknown>, found: Found): void {
  const code = JSON.stringify(body)
  if (/\balter\b/i.test(code) && /\b(?:role|user|group)\b/i.test(code) && /\b(?:password|valid)\b/i.test(code)) found.passwordOf.push('*')
}

function isCatalogFunction(name: string[]): boolean {
  const [first, second] = name
  if (name.length === 1) return catalogFunctions.has(first!)
  return name.length === 2 && first === 'pg_catalog' && catalogFunctions.has(second!)
}

function strings(list: unknown): string[] {
  const text = (value: unknown) => (typeof value === 'string' ? value : '')
  return Array.isArray(list) ? list.map((item: unknown) => text(path(item, 'String', 'sval'))) : []
}

function path(value: unknown, ...names: string[]): unknown {
  let at = value
  for (const name of names) at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[name] : undefined
  return at
}
