// What rules see of a statement.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import type { CommandFacts } from '../decide/facts.ts'
import { analyse } from '../protocols/postgres/sql/analyse.ts'
import { parserReady } from '../protocols/postgres/sql/parser.ts'

const dollar = (body: string) => `$$ ${body} $$`

describe('facts', () => {
  before(() => parserReady)

  const cases: [sql: string, facts: Partial<CommandFacts>][] = [
    ['SELECT a, t.b, s.t.c, t.* FROM s.t', { tables: ['s.t'], reads: ['s.t'], writes: [], columns: ['a', 's.t.c', 't.*', 't.b'] }],
    ['SELECT * FROM "Quoted", u&"\\0075nicode", Folded', { reads: ['Quoted', 'folded', 'unicode'], columns: ['*'] }],
    ['UPDATE t SET a = b.x FROM b WHERE EXISTS (SELECT 1 FROM c)', { writes: ['t'], reads: ['b', 'c'], columns: ['a', 'b.x'] }],
    ['DELETE FROM t USING u JOIN v ON true RETURNING t.a', { writes: ['t'], reads: ['u', 'v'] }],
    [
      'INSERT INTO t (a) SELECT 1 FROM u ON CONFLICT (a) DO UPDATE SET b = 2',
      { operations: ['INSERT', 'SELECT', 'UPDATE'], writes: ['t'], reads: ['u'], columns: ['a', 'b'] },
    ],
    [
      'MERGE INTO t USING s ON true WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)',
      { operations: ['INSERT', 'MERGE', 'UPDATE'], writes: ['t'], reads: ['s'] },
    ],
    ['TRUNCATE a, b.c', { writes: ['a', 'b.c'] }],
    ['DROP TABLE a, b.c', { writes: ['a', 'b.c'] }],
    ['DROP TRIGGER x ON b.c', { writes: ['b.c'] }],
    ['COPY t (a) TO STDOUT', { reads: ['t'], writes: [], columns: ['a'] }],
    ['COPY t FROM STDIN', { reads: [], writes: ['t'], opaque: [] }],
    ["COPY t FROM PROGRAM 'x'", { writes: ['t'], opaque: ['COPY PROGRAM'] }],
    ["COPY t TO '/tmp/x'", { reads: ['t'], opaque: ['COPY FILE'] }],
    ['SELECT 1 INTO n FROM t', { operations: ['CREATE', 'SELECT'], writes: ['n'], reads: ['t'] }],
    ['SELECT 1 INTO n FROM t UNION SELECT 2 FROM u', { writes: ['n'], reads: ['t', 'u'] }],
    ['CREATE TABLE n AS SELECT 1 FROM t', { writes: ['n'], reads: ['t'] }],
    ['CREATE VIEW v AS TABLE t', { writes: ['v'], reads: ['t'] }],
    ['CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u', { operations: ['CREATE', 'DELETE'], writes: ['t', 'u'] }],
    ['GRANT SELECT ON t TO a, CURRENT_USER, PUBLIC', { writes: ['t'], roles: ['CURRENT_USER', 'PUBLIC', 'a'] }],
    ['SELECT * FROM t FOR UPDATE OF t', { reads: ['t'], writes: [] }],
    // A name of WITH is not a table, but only where it is one.
    ['WITH x AS (SELECT 1 FROM t) SELECT * FROM x', { tables: ['t'] }],
    ['WITH t AS (SELECT 1 FROM t) SELECT * FROM t', { tables: ['t'] }],
    ['WITH RECURSIVE r AS (SELECT 1 UNION SELECT 1 FROM r) SELECT * FROM r', { tables: [] }],
    ['SELECT 1 FROM (WITH x AS (SELECT 1) SELECT * FROM x) q, x', { tables: ['x'] }],
    ['WITH x AS (SELECT 1) DELETE FROM x', { writes: ['x'] }],
    ['WITH x AS (SELECT 1) SELECT * FROM public.x', { reads: ['public.x'] }],
    ['WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b', { tables: ['b'] }],
    // Functions, settings, roles.
    ["SELECT lower(a), pg_catalog.now(), mine.f(1) FROM g('x') WHERE NOT EXISTS (SELECT h())", { functions: ['g', 'h', 'lower', 'mine.f', 'pg_catalog.now'] }],
    ['CALL p(1)', { functions: ['p'], operations: ['CALL'] }],
    ['DROP FUNCTION s.f(int)', { functions: ['s.f'] }],
    [
      "SET search_path = a; SET Local Work_Mem = '1MB'; SET TIME ZONE 'UTC'; SET ROLE x",
      { settings: ['role', 'search_path', 'timezone', 'work_mem'], roles: ['x'] },
    ],
    ['DISCARD ALL', { settings: ['*'] }],
    ['RESET ALL', { settings: ['*'], opaque: [] }],
    ["SELECT set_config('Work_Mem', '1MB', true)", { settings: ['work_mem'], opaque: [] }],
    ["SELECT set_config('work' || '_mem', '1MB', true)", { settings: ['*'], opaque: ['set_config'] }],
    ["UPDATE pg_settings SET setting = 'x'", { settings: ['*'], opaque: ['set_config'] }],
    ['ALTER ROLE a SET search_path = b; ALTER SYSTEM SET work_mem = 1', { roles: ['a'], settings: ['search_path', 'work_mem'] }],
    // What the text does not tell.
    ['PREPARE p AS DELETE FROM t', { operations: ['DELETE', 'PREPARE'], opaque: [] }],
    ['EXECUTE p', { opaque: ['EXECUTE'] }],
    ["SELECT * FROM dblink('dbname=x', 'DELETE FROM t') AS r (a int)", { opaque: ['dblink'] }],
    ["SELECT query_to_xml('DELETE FROM t', true, true, '')", { opaque: ['query_to_xml'] }],
    ["LOAD 'x'", { opaque: ['LOAD'] }],
    // Code.
    [`DO ${dollar('BEGIN DELETE FROM t WHERE a = f(1); END')}`, { operations: ['DELETE', 'DO'], writes: ['t'], functions: ['f'], opaque: ['DO'] }],
    [`DO ${dollar("BEGIN EXECUTE 'DROP TABLE t'; END")}`, { operations: ['DO', 'DROP', 'SELECT'], writes: ['t'], opaque: ['DO'] }],
    [`DO ${dollar("BEGIN EXECUTE 'DROP ' || x; END")}`, { operations: ['DO', 'SELECT'], opaque: ['DO', 'EXECUTE'] }],
    [`DO ${dollar('DECLARE r record; a int[]; BEGIN FOR r IN SELECT * FROM t LOOP a[f(1)] := g(2); END LOOP; END')}`, { reads: ['t'], functions: ['f', 'g'] }],
    ["DO LANGUAGE plpython3u 'import os'", { opaque: ['DO'] }],
    [`CREATE FUNCTION f() RETURNS void LANGUAGE sql AS ${dollar('DELETE FROM t')}`, { operations: ['CREATE', 'DELETE'], writes: ['t'], opaque: [] }],
    ['CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC DELETE FROM t; SELECT 1; END', { operations: ['CREATE', 'DELETE', 'SELECT'], writes: ['t'] }],
    [`CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql AS ${dollar('BEGIN a := (SELECT 1 FROM t); RETURN a; END')}`, { reads: ['t'], opaque: [] }],
    [`CREATE FUNCTION f() RETURNS t LANGUAGE plpgsql AS ${dollar('DECLARE x t%rowtype; BEGIN DELETE FROM t; END')}`, { writes: ['t'], opaque: [] }],
    [`CREATE FUNCTION f() RETURNS t LANGUAGE plpgsql AS ${dollar('BEGIN DELETE t; END')}`, { opaque: ['CREATE FUNCTION'] }],
    ["CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'obj', 'sym'", { opaque: ['CREATE FUNCTION'] }],
  ]
  for (const [sql, expected] of cases)
    test(sql, () => {
      const { facts, unreadable } = analyse(sql)
      assert.equal(unreadable, undefined)
      for (const [name, value] of Object.entries(expected)) assert.deepEqual(facts[name as keyof CommandFacts], value, name)
    })

  const ambiguous = [
    "select '\\', '; delete from t; --'",
    "select 'C:\\dir\\'",
    "select n'\\', '; delete from t; --'",
    "select 'a'\n'\\', '; delete from t; --'",
    `DO ${dollar("BEGIN PERFORM '\\', '; DELETE FROM t; --'; END")}`,
    `CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS ${dollar("BEGIN PERFORM '\\', '; DELETE FROM t; --'; END")}`,
    `CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql /* BEGIN PERFORM '\\', '; DELETE FROM t; --'; END */ AS ${dollar("BEGIN PERFORM '\\', '; DELETE FROM t; --'; END")}`,
    `CREATE FUNCTION f() RETURNS void LANGUAGE sql AS ${dollar("SELECT '\\', '; DELETE FROM t; --'")}`,
    "DO 'BEGIN EXECUTE ''DR\\x4fP TABLE t''; END'",
    "select set_config('client\\137encoding', 'x', true)",
  ]
  for (const sql of ambiguous) test(`two readings: ${sql}`, () => assert.match(analyse(sql).unreadable ?? 'readable', /a backslash/))

  const alike = [
    "select 'a\\b'",
    "select E'\\'; delete from t; --'",
    "select '\\d+' ~ 'x'",
    "insert into t values ('C:\\\\dir')",
    'select "a\\"',
    'select $$\\$$',
    "select 1 -- '\\",
    "select b'\\'",
  ]
  for (const sql of alike) test(`one reading: ${sql}`, () => assert.doesNotMatch(analyse(sql).unreadable ?? '', /a backslash/))
})
