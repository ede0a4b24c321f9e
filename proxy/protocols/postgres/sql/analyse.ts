// Reads a statement with PostgreSQL's own parser: what it does, as far as its text tells.
import { readBody } from './bodies.ts'
import { factsOf, Found, unreadable, type Analysis } from './facts.ts'
import { HARMLESS_TO_NAMES } from './operations.ts'
import { parseStatements } from './parser.ts'
import { asEscapeStrings } from './readings.ts'
import { speaksOfRoles } from './roles.ts'
import { Walk } from './walk.ts'
import { withoutLiterals } from './without-literals.ts'

/** Above this the parser could need more memory than the whole proxy should. */
const MAX_PARSED_CHARACTERS = 1024 * 1024
const CACHED_BYTES = 8 * 1024 * 1024
const LONGEST_CACHED = 32 * 1024
/** Bodies in bodies in bodies. */
const DEEPEST_BODY = 8

const cache = new Map<string, Analysis>()
let cachedBytes = 0

export function analyse(text: string): Analysis {
  const key = keyOf(text)
  const known = key === undefined ? undefined : cache.get(key)
  if (known) return known
  const analysis = analyseAfresh(text)
  if (key !== undefined) keep(key, analysis)
  return analysis
}

/** What is known of a text, or of one that differs from it in its literals only. */
export function remembered(text: string): Analysis | undefined {
  const key = keyOf(text)
  return key === undefined ? undefined : cache.get(key)
}

/** For what was analysed elsewhere. */
export function remember(text: string, analysis: Analysis): void {
  const key = keyOf(text)
  if (key !== undefined) keep(key, analysis)
}

const keyOf = (text: string): string | undefined => (text.length > LONGEST_CACHED ? undefined : withoutLiterals(text))

function keep(key: string, analysis: Analysis): void {
  // Another literal may be readable where this one was not: one agent's mistake must not deny what another sends.
  if (analysis.unreadable !== undefined) return
  if (cachedBytes > CACHED_BYTES) {
    cache.clear()
    cachedBytes = 0
  }
  cache.set(key, analysis)
  cachedBytes += 2 * (key.length + JSON.stringify(analysis).length)
}

/** As analyse, without what it remembers. */
export function analyseAfresh(text: string): Analysis {
  if (text.length > MAX_PARSED_CHARACTERS) return withRoleWords(text, unreadable(`it is longer than ${MAX_PARSED_CHARACTERS} characters`))
  let plain: Reading
  try {
    plain = read(text, false)
  } catch (error) {
    // Also what is nested too deep for the parser, or for the walk through its tree.
    return withRoleWords(text, unreadable(messageOf(error)))
  }
  const analysis = analysisOf(plain)
  if (!text.includes('\\')) return analysis
  const other = otherReading(text, plain)
  if (other === undefined || sameAnalysis(analysis, other)) return analysis
  return withRoleWords(text, {
    ...analysis,
    unreadable: "a backslash in a string constant '…' means one thing or another, by a setting of the session; E'…' or a parameter is clear",
    renames: true,
    copiesIn: true,
    statements: undefined,
    rolesChanged: [...analysis.rolesChanged, ...other.rolesChanged],
  })
}

interface Reading {
  found: Found
  statements: number
  /** Whether there is code inside, which has readings of its own. */
  bodies: boolean
}

/** `escapes`: backslashes in plain strings are read as escapes. @throws where it can't be read. */
function read(text: string, escapes: boolean): Reading {
  const reading: Reading = { found: new Found(), statements: 0, bodies: false }
  reading.statements = readInto(reading, text, escapes, 0)
  return reading
}

function readInto(reading: Reading, text: string, escapes: boolean, depth: number): number {
  if (depth > DEEPEST_BODY) throw new Error('code in code in code, too deep')
  // The parser has no answer for a text without a statement.
  if (isBlank(text)) return 0
  const statements = parseStatements(escapes ? (asEscapeStrings(text) ?? text) : text)
  for (const statement of statements) {
    new Walk(reading.found).statement(statement.stmt)
    if (readBody(statement, reading.found, escapes, (inner) => void readInto(reading, inner, escapes, depth + 1))) reading.bodies = true
  }
  return statements.length
}

/** The analysis with backslashes as escapes; undefined where that is the same for certain. */
function otherReading(text: string, plain: Reading): Analysis | undefined {
  try {
    if (!plain.bodies && asEscapeStrings(text) === undefined) return undefined
    return analysisOf(read(text, true))
  } catch (error) {
    return unreadable(messageOf(error))
  }
}

function analysisOf({ found, statements }: Reading): Analysis {
  const facts = factsOf(found)
  return {
    facts,
    statements,
    renames: found.renames || facts.operations.some((operation) => !HARMLESS_TO_NAMES.has(operation)),
    copiesIn: found.copiesIn,
    rolesChanged: [...found.rolesChanged],
    encodings: [...found.encodings],
  }
}

const sameAnalysis = (one: Analysis, other: Analysis): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Only spaces, semicolons and comments of one line. */
const isBlank = (text: string): boolean => /^(?:[\s;]|--[^\n]*(?:\n|$))*$/.test(text)

/** A text that PostgreSQL might read where we can't, and that speaks of roles, counts as changing every one. */
const withRoleWords = (text: string, analysis: Analysis): Analysis => (speaksOfRoles(text) ? { ...analysis, rolesChanged: ['*'] } : analysis)

/** It goes into the record and to the agent: nothing of the text is quoted in it, which may be a secret. */
const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/ at or near "[^]*"/, '').replace(/"[^]*"/, '"…"')
