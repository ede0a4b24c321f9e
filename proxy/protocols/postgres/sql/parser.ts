// PostgreSQL's own parser (libpg-query, WebAssembly), as the rest of the proxy sees it.
import { setFlagsFromString } from 'node:v8'
import { loadModule, parsePlPgSQLSync, parseSync } from 'libpg-query'

// Node 24's optimising compiler takes 550 MB for the parser's largest function, and 50 MB that stay, to make a parse a
// fifth faster; what is parsed is remembered anyway. Two flags, because V8 derives the one from the other only at its start.
setFlagsFromString('--no-wasm-tier-up')
setFlagsFromString('--no-wasm-dynamic-tiering')
// 128 MiB, in pages of 64 KiB: ordinary statements of a megabyte need less, and one that is made to need more is refused.
setFlagsFromString('--wasm-max-mem-pages=2048')

/** Must have resolved before anything here is called. */
export const parserReady: Promise<void> = loadModule()

/**
 * Whether this thread's parser must not be used any more. Where its stack overflowed or its memory ran out, WebAssembly is left
 * as it was at that moment: its own stack pointer is not set back, and after some such texts its stack would overwrite its data.
 */
export let parserBroken = false

/** @throws as `parse` does. */
function guarded<T>(parse: () => T): T {
  if (parserBroken) throw new Error('the parser failed on an earlier text')
  try {
    return parse()
  } catch (error) {
    // What is wrong with a text is an Error of the package's own; all else comes from below it.
    const ordinary = error instanceof Error && !(error instanceof RangeError || error.name === 'RuntimeError') && error.message !== 'out of memory'
    if (ordinary) throw error
    parserBroken = true
    throw new Error(error instanceof RangeError ? 'it is nested too deep' : 'reading it takes more memory than it may', { cause: error })
  }
}

/** A node of the parse tree: its name holds its body. https://github.com/pganalyze/libpg_query, protobuf/pg_query.proto. */
export type Body = Record<string, unknown>

export interface RawStatement {
  stmt: Body
  /** The statement's own text. */
  text: string
}

/** @throws where it is not SQL, or nested too deep. */
export function parseStatements(text: string): RawStatement[] {
  const { stmts } = guarded(() => parseSync(text)) as { stmts?: { stmt?: Body; stmt_location?: number; stmt_len?: number }[] }
  if (!stmts || stmts.length === 0) return []
  // Locations are bytes.
  const bytes = stmts.length === 1 ? undefined : Buffer.from(text)
  return stmts.map(({ stmt = {}, stmt_location: start = 0, stmt_len: length }) => ({
    stmt,
    get text() {
      return bytes ? bytes.toString('utf8', start, length === undefined ? bytes.length : start + length) : text
    },
  }))
}

/** The body of a DO block or a PL/pgSQL function, given as the statement that holds it. @throws where it can't be read. */
export const parseBody = (statement: string): unknown => guarded(() => parsePlPgSQLSync(statement))

/** The item of a list that one name holds: `{String: {sval}}` and its like. */
export function at(value: unknown, ...names: string[]): unknown {
  let found = value
  for (const name of names) found = isBody(found) ? found[name] : undefined
  return found
}

export const isBody = (value: unknown): value is Body => typeof value === 'object' && value !== null && !Array.isArray(value)

/** The strings of a list of String nodes; another node gives `*`. */
export function strings(list: unknown): string[] {
  if (!Array.isArray(list)) return []
  return list.map((item: unknown) => {
    const text = at(item, 'String', 'sval')
    return typeof text === 'string' ? text : '*'
  })
}

/** The value of a string constant, also where it is cast to text; undefined for anything computed. */
export function constant(node: unknown): string | undefined {
  const cast = at(node, 'TypeCast')
  if (cast !== undefined) {
    const type = strings(at(cast, 'typeName', 'names')).at(-1)
    return type === 'text' ? constant(at(cast, 'arg')) : undefined
  }
  const text = at(node, 'A_Const', 'sval')
  if (text === undefined) return undefined
  const value = at(text, 'sval')
  return typeof value === 'string' ? value : ''
}
