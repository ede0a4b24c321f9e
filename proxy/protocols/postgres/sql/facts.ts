// What a statement's text tells of it: what rules see as `command.…`, and what the proxy itself must know.
import { noFacts, noResource, type CommandFacts, type StatementFacts } from '../../../decide/facts.ts'

/**
 * - operations: every statement kind in the text, those inside CTEs, EXPLAIN, COPY, PREPARE, rules and readable bodies included
 * - tables: every table, view or sequence that the text names, qualified as it is there; identifiers as PostgreSQL folds them
 * - reads: those that stand where rows are read from; writes: all others (changed, created, dropped, locked, granted on)
 * - columns: qualified as they are there; `*` for all of them
 * - roles: by name; `CURRENT_USER`, `SESSION_USER` and `PUBLIC` as the key word
 * - settings: that are set or reset, in small letters; `*` for all, or for a name that is computed
 * - opaque: what runs code, or reaches data, that the text does not tell
 */
export type SqlFacts = CommandFacts

export interface Analysis {
  facts: SqlFacts
  /** How many statements a simple Query of this text has; undefined where the text can't be read. */
  statements: number | undefined
  /** Why the text can't be read. */
  unreadable?: string
  /** Why it can't be told what of the text may be recorded. */
  unrecordable?: string
  /** Whether running it can change what names of statements and portals mean. */
  renames: boolean
  /** Whether it can make the server ask for data. */
  copiesIn: boolean
  /** The roles whose password, validity or membership it changes; key words as in `roles`, `*` for any. */
  rolesChanged: string[]
  /** What it sets client_encoding to; `*` for a value that is computed. */
  encodings: string[]
}

type Sets<T> = { [K in keyof T]: Set<string> }

/** What a walk through a parse tree has come upon. */
export class Found {
  readonly facts: Sets<StatementFacts> = {
    operations: new Set(),
    tables: new Set(),
    reads: new Set(),
    writes: new Set(),
    columns: new Set(),
    functions: new Set(),
    roles: new Set(),
    settings: new Set(),
    opaque: new Set(),
  }
  readonly rolesChanged = new Set<string>()
  readonly encodings = new Set<string>()
  renames = false
  copiesIn = false
}

/** Sorted, each once. */
export function factsOf({ facts }: Found): SqlFacts {
  const list = (set: Set<string>) => [...set].sort()
  return {
    operations: list(facts.operations),
    tables: list(facts.tables),
    reads: list(facts.reads),
    writes: list(facts.writes),
    columns: list(facts.columns),
    functions: list(facts.functions),
    roles: list(facts.roles),
    settings: list(facts.settings),
    opaque: list(facts.opaque),
    ...noResource,
  }
}

/** For what is not SQL, or not to be read: it may do anything. */
export function unreadable(why: string): Analysis {
  return { facts: noFacts, statements: undefined, unreadable: why, renames: true, copiesIn: true, rolesChanged: [], encodings: [] }
}
