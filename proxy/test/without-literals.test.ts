// PostgreSQL's own scanner says whether a text has been read right.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { loadModule, scanSync } from 'libpg-query'
import { withoutLiterals } from '../protocols/postgres/sql/without-literals.ts'

const TEXTS = process.env.SOAK ? 2_000_000 : 20_000

const tokens = (text: string): string | undefined => {
  try {
    return scanSync(text)
      .tokens.map(({ tokenName, tokenType }) => `${tokenName}/${tokenType}`)
      .join(' ')
  } catch {
    return undefined
  }
}

describe('without literals', () => {
  before(loadModule)

  const cases: [text: string, key: string][] = [
    ["SELECT 'a', 12 FROM t WHERE b = 'it''s'", "SELECT '', 0 FROM t WHERE b = ''"],
    ["INSERT INTO t VALUES ('a', $1, 1.5, 1e5) -- '", "INSERT INTO t VALUES ('', $1, 1.5, 1e5) -- '"],
    ["SELECT /* ' /* ' */ ' */ 'a'", "SELECT /* ' /* ' */ ' */ ''"],
    [`SELECT "it's" FROM a1 WHERE e'a' = n'b'`, `SELECT "it's" FROM a1 WHERE e'' = n''`],
  ]
  for (const [text, key] of cases) test(text, () => assert.equal(withoutLiterals(text), key))

  const untouched = [
    "SELECT '\\', '; DELETE FROM t; --'",
    "SELECT E'\\x95\\x5c'",
    "SELECT $$a$$, 'b'",
    "SELECT $a$ ' $a$, 'b'",
    "SELECT U&'d!0061' UESCAPE '!'",
    "SELECT B'01''1'",
    "SELECT set_config('role', 'x', true)",
    `SELECT "set_config"('role', 'x', true)`,
    "DO 'BEGIN DELETE FROM t; END'",
    "SELECT ''; DO 'BEGIN DELETE FROM t; END'",
    "COPY t FROM 'file'",
    "ALTER ROLE a PASSWORD 'x'",
    "SELECT 'not ended",
    "SELECT 1 /* not ended '",
  ]
  for (const text of untouched) test(`left alone: ${text}`, () => assert.equal(withoutLiterals(text), text))

  test(`${TEXTS} random texts: what is left has the same tokens`, () => {
    // prettier-ignore
    const pieces = ['SELECT', 'WITH a AS (', 'INSERT INTO t VALUES (', 'DELETE FROM t', 'UPDATE t SET a =', 'a', 'b1', '"q"', '"q""r"', '"un', '1', '42', '0', '999999999', '9999999999', '1.5', '.5', '1.', '1e5', '1e+5', '0x1F', '0b1', '1_000', '1a', '-', '--', '-- c\n', '--\r', '/*', '*/', '/* c */', '/* /* n */ */', '+', '*', '/', '::', '||', ';', "'", "''", "'a'", "'a''b'", "'a\\b'", "E'a'", "e'\\''", "B'01'", "x'1F'", "N'n'", "U&'d'", 'U&"d"', 'u&', 'uescape', '$1', '$2a', '$$', '$a$', '(', ')', ',', '\n', '\t', 'set_config', 'ä', "ä'x'", 'e', '\\', '.', '..', '=', "1'a'", "a'b'", 'DO', "0'"]
    let state = Number(process.env.SEED ?? Date.now()) >>> 0
    const seed = state
    const below = (n: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * n)
    }
    let changed = 0
    for (let i = 0; i < TEXTS; i++) {
      let text = below(3) === 0 ? '' : 'SELECT '
      for (let left = 1 + below(9); left > 0; left--) text += pieces[below(pieces.length)]! + (below(2) === 0 ? '' : ' ')
      const key = withoutLiterals(text)
      if (key === text) continue
      const read = tokens(text)
      if (read === undefined) continue
      changed++
      assert.equal(tokens(key), read, `${JSON.stringify(text)} became ${JSON.stringify(key)} (seed ${seed})`)
      assert.equal(withoutLiterals(key), key)
    }
    assert.ok(changed > TEXTS / 20, `only ${changed} texts had literals`)
  })
})
