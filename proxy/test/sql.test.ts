// What is read from a statement's text, and what is taken out of it.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { analyse } from '../protocols/postgres/sql/analyse.ts'
import { parserReady } from '../protocols/postgres/sql/parser.ts'
import { readLarge } from '../protocols/postgres/sql/read-large.ts'
import { redactSql } from '../protocols/postgres/sql/redact.ts'
import { Redactor } from '../record/redactor.ts'

const redactPasswords = (text: string) => redactSql(text, Redactor.none)

describe('sql', () => {
  before(() => parserReady)

  const operations: [string, string[]][] = [
    ['SELECT 1', ['SELECT']],
    ['', []],
    ['-- nothing', []],
    ['/* nothing */', []],
    ['INSERT INTO t VALUES (1)', ['INSERT']],
    ['INSERT INTO t SELECT 1', ['INSERT', 'SELECT']],
    ['WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone', ['DELETE', 'SELECT']],
    ['EXPLAIN ANALYZE DELETE FROM t', ['DELETE', 'EXPLAIN']],
    ['COPY (DELETE FROM t RETURNING *) TO STDOUT', ['COPY', 'DELETE']],
    ['PREPARE p AS UPDATE t SET a = 1', ['PREPARE', 'UPDATE']],
    ['SELECT 1 INTO t', ['CREATE', 'SELECT']],
    ['CREATE TABLE t AS SELECT 1', ['CREATE', 'SELECT']],
    ['CREATE RULE r AS ON INSERT TO t DO INSTEAD DELETE FROM t', ['CREATE', 'DELETE']],
    ['MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE', ['DELETE', 'MERGE']],
    ['ALTER TABLE t RENAME TO u', ['ALTER']],
    ['DROP TABLE t; TRUNCATE t', ['DROP', 'TRUNCATE']],
    ['BEGIN; SAVEPOINT a; ROLLBACK TO a; COMMIT', ['BEGIN', 'COMMIT', 'ROLLBACK', 'SAVEPOINT']],
    ['GRANT SELECT ON t TO u; REVOKE ALL ON t FROM u', ['GRANT', 'REVOKE']],
    ['SET a.b = 1; RESET a.b; SHOW a.b', ['RESET', 'SET', 'SHOW']],
    ['DO $$ BEGIN DELETE FROM t; END $$', ['DELETE', 'DO']],
  ]
  for (const [sql, expected] of operations) test(`operations of ${sql}`, () => assert.deepEqual(analyse(sql).facts.operations, expected))

  test('a text that can not be read does not spoil one that differs in its numbers', () => {
    assert.ok(analyse('SELECT CAST(a AS float(0)) FROM t').unreadable)
    assert.equal(analyse('SELECT CAST(a AS float(3)) FROM t').unreadable, undefined)
  })

  test('what it can not read, it says so of, and takes for anything', async () => {
    for (const sql of ['SELEC 1', `SELECT 1${'+1'.repeat(100_000)}`, `SELECT '${'x'.repeat(2 ** 20)}'`]) {
      const { unreadable, renames, copiesIn, statements } = sql.length < 1000 ? analyse(sql) : (await readLarge(sql, Redactor.none)).analysis
      assert.ok(unreadable)
      assert.deepEqual([renames, copiesIn, statements], [true, true, undefined])
    }
  })

  test('what may change the meaning of names', () => {
    for (const sql of ['SELECT lower(a) FROM t', 'SHOW search_path', 'BEGIN', 'SELECT pg_catalog.now()']) assert.equal(analyse(sql).renames, false, sql)
    for (const sql of [
      'SELECT mine(1)',
      'SELECT other.lower(1)',
      "SELECT query_to_xml('x', true, true, '')",
      'INSERT INTO t VALUES (1)',
      'COMMIT',
      'FETCH c',
      'DISCARD ALL',
      'PREPARE p AS SELECT 1',
      'SET CONSTRAINTS ALL IMMEDIATE',
    ])
      assert.equal(analyse(sql).renames, true, sql)
  })

  test('whose password or validity a text changes', () => {
    const cases: [string, string[]][] = [
      ["ALTER ROLE app PASSWORD 'x'", ['app']],
      ['ALTER USER "App" VALID UNTIL \'infinity\'', ['App']],
      ["ALTER ROLE CURRENT_USER PASSWORD 'x'", ['CURRENT_USER']],
      ["ALTER ROLE SESSION_USER PASSWORD 'x'", ['SESSION_USER']],
      ['ALTER ROLE app RENAME TO other', ['app', 'other']],
      ["DO $$ BEGIN EXECUTE 'ALTER ROLE app PASSWORD ''x'''; END $$", ['app']],
      ["DO $$ BEGIN EXECUTE 'ALTER ROLE app PASS' || 'WORD ''x'''; END $$", ['*']],
      ["ALTER ROLE app PASSWORD 'x' NOT SQL", ['*']],
      ['ALTER ROLE app SET search_path = a', []],
      ['SELECT 1', []],
    ]
    for (const [sql, roles] of cases) assert.deepEqual(analyse(sql).rolesChanged, roles, sql)
  })

  const secrets = [
    "'s3cret'",
    "E's3\\'cret'",
    "U&'s3cret'",
    '$$s3cret$$',
    '$q$s3cret$q$',
    "'s3'\n'cret'",
    "'s3' -- more\n  'cret'",
    "'s3''cret'",
    "/* c */ 's3cret'",
    "--\n's3cret'",
    "'s3\\' cret'",
  ]
  for (const secret of secrets) {
    test(`a password literal is taken out: ${secret}`, () => {
      for (const sql of [
        `ALTER ROLE a PASSWORD ${secret}`,
        `CREATE USER a ENCRYPTED password ${secret} LOGIN`,
        `CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password ${secret})`,
      ]) {
        const redacted = redactPasswords(sql)
        assert.doesNotMatch(redacted, /s3|cret/, redacted)
        assert.match(redacted, /\[REDACTED\]/)
      }
    })
  }

  test('inside a string, and without touching anything else', () => {
    assert.doesNotMatch(redactPasswords("DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''s3cret'''; END $$"), /s3cret/)
    assert.doesNotMatch(redactPasswords("ALTER ROLE a PASSWORD 's3cret"), /s3cret/)
    for (const sql of [
      "SELECT password FROM t WHERE password = 'kept'",
      "SELECT 'my password is kept'",
      "SELECT 1 -- password\n, 'kept'",
      "INSERT INTO t (password) VALUES ('kept')",
      'SELECT "password" , $1',
    ])
      assert.equal(redactPasswords(sql), sql)
  })
})
