// A script that uses every message type of the protocol, both ways. Each step leaves the connection as it found it, so that
// steps can be repeated; `ready`: how many ReadyForQuery answer it.
import { build } from './wire-client.ts'

const { query, parse, bind, describe, execute, close, sync, flush, functionCall, copyData, copyDone, copyFail } = build

export interface Step {
  name: string
  send: Buffer[]
  ready: number
}

const step = (name: string, send: Buffer[], ready = 1): Step => ({ name, send, ready })

/** pg_proc.oid of int4pl. */
const INT4PL = 177
const INT4 = 23

export const everyMessage: readonly Step[] = [
  // First: after a command that may have made names by SQL, the proxy itself refuses a name that it does not know.
  step('no such statement', [bind('', 'no such'), sync()]),
  step('no such portal', [execute('no such'), sync()]),
  step('describe nothing', [describe('S', 'no such'), sync()]),
  step('close nothing', [close('S', 'no such'), close('P', 'no such'), sync()]),
  step('simple Query', [query('SELECT 1 AS one, NULL AS nothing')]),
  step('empty Query', [query('')]),
  step('comment only', [query('-- nothing')]),
  step('several statements', [query('SELECT 1; SELECT 2, 3; SHOW search_path')]),
  step('several statements, one fails', [query('SELECT 1; SELECT 1/0; SELECT 3')]),
  step('syntax error', [query('SELEC 1')]),
  step('a transaction', [query('BEGIN'), query('SELECT 1'), query('ROLLBACK')], 3),
  step('a failed transaction', [query('BEGIN'), query('SELECT nope'), query('SELECT 1'), query('COMMIT')], 4),
  step('extended, unnamed', [parse('', 'SELECT $1::int + 1', [INT4]), bind('', '', ['41']), describe('P', ''), execute(''), sync()]),
  step('extended, binary', [parse('', 'SELECT $1::int', [INT4]), bind('', '', [Buffer.from([0, 0, 0, 7])], 1), execute(''), sync()]),
  step(
    'named statement',
    [
      parse('s', 'SELECT $1::text'),
      describe('S', 's'),
      sync(),
      bind('p', 's', ['x']),
      describe('P', 'p'),
      execute('p'),
      close('P', 'p'),
      close('S', 's'),
      sync(),
    ],
    2,
  ),
  step('null and empty parameters', [parse('', 'SELECT $1::text, $2::text'), bind('', '', [null, '']), execute(''), sync()]),
  step(
    'row limit',
    [
      query('BEGIN'),
      parse('', 'SELECT g FROM generate_series(1, 5) g'),
      bind('p', ''),
      execute('p', 2),
      flush(),
      execute('p', 2),
      execute('p', 2),
      sync(),
      query('COMMIT'),
    ],
    3,
  ),
  step(
    'pipelining',
    [
      parse('', 'SELECT 1'),
      bind('', ''),
      execute(''),
      sync(),
      parse('', 'SELECT 2'),
      bind('', ''),
      execute(''),
      sync(),
      parse('', 'SELECT 3'),
      bind('', ''),
      execute(''),
      sync(),
    ],
    3,
  ),
  step('a pipeline that fails', [
    parse('', 'SELECT 1'),
    bind('', ''),
    execute(''),
    parse('', 'SELECT 1/0'),
    bind('', ''),
    execute(''),
    parse('', 'SELECT 3'),
    bind('', ''),
    execute(''),
    sync(),
  ]),
  step('Parse that fails', [parse('', 'SELECT nope'), bind('', ''), execute(''), sync()]),
  step('a statement without rows', [parse('', "SET LOCAL application_name = 'x'"), bind('', ''), describe('P', ''), execute(''), sync()]),
  step('FunctionCall', [functionCall(INT4PL, '40', '2')]),
  step('FunctionCall that fails', [functionCall(1, '40')]),
  step('COPY OUT', [query("COPY (SELECT g, repeat('x', g) FROM generate_series(1, 20) g) TO STDOUT")]),
  step('COPY OUT, binary', [query('COPY (SELECT g FROM generate_series(1, 5) g) TO STDOUT (FORMAT binary)')]),
  step(
    'COPY IN',
    [
      query('BEGIN'),
      query('COPY copied FROM STDIN'),
      copyData('1\tone\n2\ttwo\n'),
      copyData('3\tthree\n'),
      copyDone(),
      query('SELECT * FROM copied'),
      query('ROLLBACK'),
    ],
    4,
  ),
  step('COPY IN that the client ends', [query('COPY copied FROM STDIN'), copyData('1\tone\n'), copyFail('changed its mind')]),
  step('COPY IN that fails', [query('COPY copied FROM STDIN'), copyData('not a number\tone\n'), copyData('2\ttwo\n'), copyDone(), query('SELECT 1')], 2),
  step(
    'COPY IN, extended',
    [query('BEGIN'), parse('', 'COPY copied FROM STDIN'), bind('', ''), execute(''), copyData('1\tone\n'), copyDone(), sync(), query('ROLLBACK')],
    3,
  ),
  step('COPY OUT, extended', [parse('', 'COPY (SELECT 1) TO STDOUT'), bind('', ''), execute(''), sync()]),
  step('notice', [query("DO $$ BEGIN RAISE NOTICE 'look'; END $$")]),
  step('parameter status', [query("SET application_name = 'changed'"), query("SET application_name = 'someone'")], 2),
  step('prepared by SQL', [query('PREPARE q AS SELECT 7'), query('EXECUTE q'), query('DEALLOCATE q')], 3),
  step('a cursor', [query('BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; CLOSE c; COMMIT')]),
  step('notification', [query('LISTEN here'), query("NOTIFY here, 'hello'"), query('UNLISTEN here')], 3),
]

/** Ends with a FATAL of the server's, and the end of the connection: it has no ReadyForQuery. */
export const fatal: Buffer = query('SELECT pg_terminate_backend(pg_backend_pid())')
