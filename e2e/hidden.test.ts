// Statements that hide what they do. Each is tried on the server itself, where it must have its effect, and then through the
// proxy, where a rule that names the effect must stop it. On a real PostgreSQL, whose own log has the last word.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import pg from 'pg'
import type { Event } from '@agentaccess/recording'
import { asEscapeStrings } from '../proxy/protocols/postgres/sql/readings.ts'
import { makeRole, ROLE, startHarness, TOKEN, type Harness } from './harness.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Random } from './random.ts'
import { Scope } from './scope.ts'
import { build, errorCode, messages, WireClient } from './wire-client.ts'

const scope = new Scope('hidden')
let server: PostgresServer

const deny = (name: string, when: string) => ({ name, when, action: 'Deny' as const })
const rules = [
  deny('no-delete', "command.operations.exists(o, o in ['DELETE', 'TRUNCATE', 'CREATE', 'LISTEN', 'PREPARE TRANSACTION'])"),
  deny('no-victim', "command.writes.exists(t, t == 'victim' || t.endsWith('.victim'))"),
  deny('no-wipe', "command.functions.exists(f, f.startsWith('wipe') || f.startsWith('lo_'))"),
  deny('no-search-path', "'search_path' in command.settings"),
  deny('no-opaque', 'command.opaque.size() > 0'),
]

const left = async () => Number((await server.query<{ count: string }>('SELECT count(*) FROM victim', [], 'orders')).rows[0]!.count)
const restore = () => server.query('TRUNCATE victim; INSERT INTO victim VALUES (1), (2), (3)', [], 'orders')

/** Sends each as a simple Query of its own, whatever comes of the one before; returns the errors' SQLSTATE. */
async function send(client: WireClient, texts: readonly (string | Buffer)[]): Promise<string[]> {
  const codes: string[] = []
  for (const text of texts) {
    const answer = await client.ask(typeof text === 'string' ? build.query(text) : build.raw('Q', text))
    codes.push(
      ...messages(answer)
        .filter(({ type }) => type === 'E')
        .map(({ body }) => errorCode(body)),
    )
  }
  return codes
}

/** What it got before the connection was closed. */
const closing = async (client: WireClient) => (await client.until(() => false)).toString('latin1')

/** Past the proxy; the server's log says so. */
const direct = () => WireClient.connect(server.port, { user: ROLE.user, password: ROLE.password, parameters: { application_name: 'direct' } })

describe('hidden statements', () => {
  let harness: Harness
  before(async () => {
    server = await startPostgres(scope, {
      hba: ['host all all 127.0.0.1/32 password'],
      settings: { log_statement: 'all', max_prepared_transactions: '5', logging_collector: 'off', log_line_prefix: '<%a> ' },
    })
    await makeRole(server)
    await server.query(`ALTER ROLE ${ROLE.user} SUPERUSER`)
    await server.query(
      'CREATE TABLE victim (a int); CREATE TABLE other (a int); ALTER TABLE victim OWNER TO app; CREATE VIEW seen AS SELECT * FROM victim',
      [],
      'orders',
    )
    await server.query("CREATE PROCEDURE wipe_p() LANGUAGE sql AS 'DELETE FROM victim'", [], 'orders')
    await server.query("CREATE FUNCTION wipe_f() RETURNS void LANGUAGE sql AS 'DELETE FROM victim'", [], 'orders')
    await server.query(
      "CREATE FUNCTION to_sjis() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('client_encoding', 'SJIS', false); END $$",
      [],
      'orders',
    )
    harness = await startHarness(scope, server.port, { access: { policy: { default: 'Allow', rules } } })
  })
  after(() => scope.close())

  const wipe = 'DELETE FROM victim'
  const wiping: [name: string, texts: (string | Buffer)[]][] = [
    ['a CTE', [`WITH x AS (${wipe} RETURNING a) SELECT count(*) FROM x`]],
    ['a materialized CTE', [`WITH x AS MATERIALIZED (${wipe} RETURNING a) SELECT 1`]],
    ['EXPLAIN ANALYZE', [`EXPLAIN ANALYZE ${wipe}`]],
    ['MERGE', ['MERGE INTO victim USING generate_series(1, 3) g ON a = g WHEN MATCHED THEN DELETE']],
    ['COPY of a query', [`COPY (${wipe} RETURNING a) TO STDOUT`]],
    ['PREPARE and EXECUTE', [`PREPARE p AS ${wipe}`, 'EXECUTE p']],
    [
      'a cursor',
      ['BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM victim FOR UPDATE', 'FETCH c', 'DELETE FROM victim WHERE CURRENT OF c', 'DELETE FROM victim', 'COMMIT'],
    ],
    ['a DO block', [`DO $$ BEGIN ${wipe}; END $$`]],
    ['a DO block that puts it together', ["DO $$ BEGIN EXECUTE 'DEL' || 'ETE FROM victim'; END $$"]],
    ['a procedure', ['CALL wipe_p()']],
    ['a function', ['SELECT wipe_f()']],
    ['a function of its own', [`CREATE FUNCTION pg_temp.w() RETURNS void LANGUAGE sql AS '${wipe}'`, 'SELECT pg_temp.w()']],
    ['XML', ["SELECT query_to_xml('SELECT wipe_f()', true, true, '')"]],
    ['a view', ['DELETE FROM seen']],
    ['a rule', [`CREATE RULE r AS ON INSERT TO other DO ALSO ${wipe}`, 'INSERT INTO other VALUES (1)', 'DROP RULE r ON other']],
    ['a quoted name', ['TRUNCATE "victim"']],
    ['a Unicode name', ['TRUNCATE U&"\\0076ictim"']],
    ['a Unicode name with an escape of its own', ['TRUNCATE U&"!0076ictim" UESCAPE \'!\'']],
    ['comments everywhere', ['/* a /* b */ */DELETE--\n/**/FROM/* c */victim--']],
    ['the last of 10,000 statements', [`${'SELECT 1;'.repeat(9_999)}${wipe}`]],
    ['a comment that a string seems to end', ["SELECT 1 -- 'x'", `SELECT 1 -- '\n; ${wipe} -- '`]],
    ['a setting, and a backslash', ['SET standard_conforming_strings = off', `SELECT '\\', '; ${wipe}; --'`]],
    ['a setting with a computed name', ["SELECT set_config('standard_' || 'conforming_strings', 'off', false)", `SELECT '\\', '; ${wipe}; --'`]],
    ['a setting in one Query with what it hides', [`SET standard_conforming_strings = off; SELECT '\\', '; ${wipe}; --'`, `SELECT '\\', '; ${wipe}; --'`]],
    ['a character with a backslash in it', ["SET client_encoding = 'SJIS'", Buffer.from(`SELECT E'\x95\\'; ${wipe}; --'\0`, 'latin1')]],
    ['a dollar quote that is a name', ['SELECT a$$ FROM (SELECT 1 AS a$$) q', `${wipe} -- $$`]],
    ['a large text', [`SELECT '${'x'.repeat(200_000)}'; ${wipe}`]],
  ]
  for (const [name, texts] of wiping)
    test(`${name}: it works on the server, and not through the proxy`, async () => {
      await restore()
      const there = await direct()
      await send(there, texts)
      await there.end()
      assert.ok((await left()) < 3, 'what this test tries has no effect on the server itself')
      await restore()
      const through = await WireClient.connect(harness.port, { password: TOKEN })
      const codes = await send(through, texts)
      await through.end()
      assert.equal(await left(), 3)
      assert.ok(codes.includes('42501'), `refused with ${codes.join()}`)
    })

  /** The server's own answer: nothing wrong, or its error. */
  const refused: [name: string, texts: (string | Buffer)[], there?: string[]][] = [
    ['CREATE TABLE AS', ['CREATE TEMP TABLE n AS SELECT 1']],
    ['SELECT INTO', ['SELECT 1 INTO TEMP n']],
    ['COPY FROM PROGRAM', ["COPY other FROM PROGRAM 'echo 1'"]],
    ['a large object', ['SELECT lo_create(4711)']],
    ['LISTEN', ['LISTEN x']],
    ['two-phase commit', ['BEGIN', 'INSERT INTO other VALUES (2)', "PREPARE TRANSACTION 'x'", "ROLLBACK PREPARED 'x'", 'ROLLBACK']],
    ['another search path, and a name without a schema', ['SET search_path = other, public', 'SELECT * FROM victim']],
    ['bytes that are not UTF-8', [Buffer.from('SELECT 1 -- \xff\0', 'latin1')], ['22021']],
    ['a text that takes more memory to read than it may', [`SELECT ${'a,'.repeat(500_000)}a`], ['42703']],
    ['a million parentheses', [`SELECT ${'('.repeat(1e6)}1${')'.repeat(1e6)}`], ['42601']],
  ]
  for (const [name, texts, there = []] of refused)
    test(`${name}: refused, and the session goes on`, async () => {
      const past = await direct()
      assert.deepEqual(await send(past, texts), there)
      await past.end()
      const through = await WireClient.connect(harness.port, { password: TOKEN })
      assert.ok((await send(through, texts)).includes('42501'))
      assert.deepEqual(await send(through, ['SELECT 1']), [])
      await through.end()
    })

  test('a large text that is read holds up who sent it, and nobody else', async () => {
    const [slow, quick] = await Promise.all([1, 2].map(() => WireClient.connect(harness.port, { password: TOKEN })))
    const order: string[] = []
    const large = slow!.ask(build.query(`SELECT ${'f(),'.repeat(200_000)}1`)).then(() => order.push('large'))
    for (let i = 0; i < 20; i++) {
      await quick!.ask(build.query('SELECT 1'))
      order.push('small')
    }
    await large
    assert.deepEqual(order.slice(0, 20), Array<string>(20).fill('small'))
    await Promise.all([slow!.end(), quick!.end()])
  })

  test('texts on which the parser itself fails leave it as it was for everyone else', async () => {
    const client = await WireClient.connect(harness.port, { password: TOKEN })
    const failing = [
      `SELECT ${'(SELECT '.repeat(5000)}1${')'.repeat(5000)}`,
      `SELECT ${'a,'.repeat(500_000)}a`,
      `SELECT 1${' + 1'.repeat(100_000)}`,
      `SELECT ${'NOT '.repeat(30_000)} true`,
    ]
    for (let i = 0; i < 12; i++) assert.deepEqual(await send(client, [failing[i % failing.length]!]), ['42501'])
    assert.deepEqual(
      await send(client, [
        'SELECT 1',
        `SELECT 1 IN (${'1,'.repeat(10_000)}1)`,
        'DELETE FROM victim',
        `SELECT 1 IN (${'1,'.repeat(10_000)}1); DELETE FROM victim`,
      ]),
      ['42501', '42501'],
    )
    await client.end()
  })

  test('a FunctionCall is refused, since its number says nothing', async () => {
    const through = await WireClient.connect(harness.port, { password: TOKEN })
    const answer = await through.ask(build.functionCall(177, '1', '2'))
    assert.deepEqual(
      messages(answer)
        .filter(({ type }) => type === 'E')
        .map(({ body }) => errorCode(body)),
      ['42501'],
    )
    await through.end()
  })

  test('a Query that has a NUL in it is no message of the protocol', async () => {
    const through = await WireClient.connect(harness.port, { password: TOKEN })
    through.send(build.raw('Q', Buffer.from(`SELECT 1\0; ${wipe}\0`)))
    assert.match(await closing(through), /08P01/)
  })

  test('encodings in which a backslash can be half of a character', async () => {
    for (const options of [
      { client_encoding: 'SJIS' },
      { options: '-c client_encoding=big5' },
      { options: '--client-encoding=GBK' },
      { options: '-c work_mem=1MB -cclient_encoding=U\\HC' },
    ]) {
      const refusal = await WireClient.connect(harness.port, { password: TOKEN, parameters: options }).then(() => 'let in', String)
      assert.match(refusal, /22023/, JSON.stringify(options))
    }
    // What a role starts with is the target's business, until it is seen.
    await server.query(`ALTER ROLE ${ROLE.user} SET client_encoding = 'SJIS'`)
    assert.match(await WireClient.connect(harness.port, { password: TOKEN }).then(() => 'let in', String), /22023/)
    const asked = await WireClient.connect(harness.port, { password: TOKEN, parameters: { client_encoding: 'utf-8' } })
    await asked.end()
    await server.query(`ALTER ROLE ${ROLE.user} RESET client_encoding`)
    const through = await WireClient.connect(harness.port, { password: TOKEN })
    through.send(build.query('SELECT to_sjis()'))
    assert.match(await closing(through), /22023/)
  })

  test('a setting with a computed name is denied where there are rules, whatever they say, and only there', async () => {
    const computed = [
      "SELECT set_config('work' || '_mem', '1MB', false)",
      "UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'",
      "SELECT set_config($1, '1MB', false)",
    ]
    const ask = async (rule: boolean) => {
      const one = await startHarness(scope, server.port, rule ? { access: { policy: { default: 'Allow', rules: [deny('other', 'false')] } } } : {})
      const client = await WireClient.connect(one.port, { password: TOKEN })
      const answers: string[] = []
      for (const text of computed) {
        const answer = await client.ask([build.parse('', text), build.bind('', '', text.includes('$1') ? ['work_mem'] : []), build.execute(''), build.sync()])
        answers.push(...messages(answer).flatMap(({ type, body }) => (type === 'E' ? [/built-in\/[a-z-]+/.exec(body.toString())?.[0] ?? errorCode(body)] : [])))
      }
      await client.end()
      await one.stop()
      return answers
    }
    assert.deepEqual(
      await ask(true),
      computed.map(() => 'built-in/computed-setting'),
    )
    assert.deepEqual(await ask(false), [])
  })

  test('the injected role keeps its password, its validity and its memberships, however it is said', async () => {
    await server.query('CREATE ROLE friend')
    const passwordOf = async () =>
      (
        await server.query<{ rolpassword: string }>(
          `SELECT rolpassword || coalesce(rolvaliduntil::text, '') AS rolpassword FROM pg_authid WHERE rolname = '${ROLE.user}'`,
        )
      ).rows[0]!.rolpassword
    const memberships = async () => Number((await server.query<{ count: string }>('SELECT count(*) FROM pg_auth_members')).rows[0]!.count)
    const [password, members] = [await passwordOf(), await memberships()]
    const open = await startHarness(scope, server.port)
    const client = await WireClient.connect(open.port, { password: TOKEN })
    const spellings = [
      "ALTER ROLE app PASSWORD 'new'",
      'ALTER USER "app" WITH ENCRYPTED PASSWORD \'new\'',
      'ALTER USER u&"\\0061pp" PASSWORD \'new\'',
      "ALTER USER CURRENT_USER PASSWORD 'new'",
      "ALTER ROLE CURRENT_ROLE PASSWORD 'new'",
      "ALTER USER SESSION_USER PASSWORD 'new'",
      "ALTER USER APP PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy'",
      'ALTER ROLE app PASSWORD NULL',
      "ALTER ROLE app VALID UNTIL '2001-01-01'",
      'ALTER ROLE app NOLOGIN',
      'ALTER ROLE app CONNECTION LIMIT 0',
      'GRANT friend TO app',
      'GRANT friend TO CURRENT_USER',
      'ALTER GROUP friend ADD USER app',
      'CREATE ROLE another ROLE app',
      'CREATE ROLE another IN ROLE app',
      "SET ROLE friend; ALTER USER CURRENT_USER PASSWORD 'new'",
      "SET SESSION AUTHORIZATION app; ALTER USER SESSION_USER PASSWORD 'new'",
      "DO $$ BEGIN ALTER USER app PASSWORD 'new'; END $$",
      "DO $$ BEGIN EXECUTE 'ALTER USER app PASSWORD ''new'''; END $$",
      "DO $$ BEGIN EXECUTE format('ALTER USER %I PASSWORD ''new''', 'app'); END $$",
      "UPDATE pg_authid SET rolpassword = 'new' WHERE rolname = 'app'",
      "WITH x AS (UPDATE pg_catalog.pg_authid SET rolpassword = 'new' RETURNING 1) SELECT 1",
      "PREPARE p AS SELECT 1; ALTER USER app PASSWORD 'new'",
      "SELECT 'a\\'; ALTER USER app PASSWORD 'new' --'",
    ]
    for (const text of spellings) {
      assert.deepEqual(await send(client, [text]), ['42501'], text)
      assert.equal(await passwordOf(), password, text)
      assert.equal(await memberships(), members, text)
    }
    assert.deepEqual(
      await send(client, ["ALTER ROLE friend PASSWORD 'theirs'", "ALTER ROLE app SET work_mem = '1MB'", 'SET ROLE friend', 'RESET ROLE']),
      [],
      'what is not its log-in may change',
    )
    await client.end()
    await open.stop()
  })

  test('what the server ran, the record has', async () => {
    // A session may end while a text is being read: then it is not executed, and the record says so.
    for (let i = 0; i < 5; i++) (await WireClient.connect(harness.port, { password: TOKEN })).send(build.query(`SELECT ${'f(),'.repeat(200_000)}2`))
    await new Promise((resolve) => setTimeout(resolve, 100))
    const sessions = await harness.recorded()
    const denied = new Set<string>()
    const allowed = new Set<string>()
    for (const events of sessions) {
      const text = (event: Event) => {
        const attributes = event.kind === 'command' ? event.attributes : {}
        return [attributes['db.query.text'], attributes['db.query.text.blob']].find((value) => typeof value === 'string') ?? ''
      }
      const refusals = new Set(events.flatMap((event) => (event.kind === 'result' && event.status === 'denied' ? [event.command] : [])))
      for (const event of events) if (event.kind === 'command') (refusals.has(event.command) ? denied : allowed).add(text(event))
    }
    assert.ok(denied.size > 30)
    assert.ok(
      sessions.flat().some((event) => event.kind === 'command' && event.attributes['agentaccess.unreadable'] === 'the session ended before it was read'),
    )
    for (const text of denied) assert.ok(text === '' || !allowed.has(text), text)
    const log = server.log()
    // Multi-line texts are logged in several lines: their first one is enough.
    for (const text of denied) if (text !== '') assert.ok(!log.includes(`<> LOG:  statement: ${text.split('\n')[0]!.slice(0, 1000)}`), `the server got ${text}`)
    for (const text of allowed) if (!/\n|^[0-9a-f]{64}$/.test(text) && text.length < 1000) assert.ok(log.includes(text), text)
  })

  test('a backslash read as the server reads it with standard_conforming_strings off', async () => {
    const random = new Random()
    console.log(`seed ${random.seed}`)
    const pieces = [
      "'",
      "''",
      "'a'",
      "'\\'",
      "'\\''",
      "'a\\",
      '\\',
      "E'\\n'",
      "e'\\'",
      "N'",
      "n'\\'",
      "B'1'",
      "x'",
      "U&'d'",
      '"q\\"',
      '$$',
      '$a$',
      '$',
      '1',
      'a',
      ',',
      ' ',
      '\n',
      '--',
      '-- \\\n',
      '/*',
      '*/',
      '||',
      '(',
      ')',
      "' \n '",
      "'a' -- c\n '\\'",
      "'\t'",
      ';',
      '::text',
      'é',
    ]
    const connect = async (setting: string) => {
      const client = new pg.Client({ host: '127.0.0.1', port: server.port, user: ROLE.user, password: ROLE.password, database: 'orders' })
      await client.connect()
      await client.query(`SET standard_conforming_strings = ${setting}; SET escape_string_warning = off; SET backslash_quote = on`)
      return client
    }
    const [off, on] = [await connect('off'), await connect('on')]
    const outcome = async (client: pg.Client, text: string): Promise<string> => {
      try {
        const result = (await client.query({ text, rowMode: 'array' })) as unknown as pg.QueryArrayResult | pg.QueryArrayResult[]
        return JSON.stringify((Array.isArray(result) ? result : [result]).map(({ rows }) => rows))
      } catch {
        return 'error'
      }
    }
    let compared = 0
    for (let i = 0; i < (process.env.SOAK ? 200_000 : 5000); i++) {
      const text = `SELECT ${Array.from({ length: 1 + random.below(8) }, () => pieces[random.below(pieces.length)]).join(random.below(3) === 0 ? ' ' : '')}`
      let read: string | undefined
      try {
        read = asEscapeStrings(text)
      } catch {
        assert.equal(await outcome(off, text), 'error', text)
        continue
      }
      if (read === undefined) continue
      // U&'…' is refused where the setting is off: then nothing of it runs.
      const [expected, got] = [await outcome(off, text), await outcome(on, read)]
      if (expected !== 'error') {
        assert.equal(got, expected, `${JSON.stringify(text)} as ${JSON.stringify(read)}`)
        compared++
      }
    }
    await off.end()
    await on.end()
    assert.ok(compared > 20, `only ${compared} texts were SQL`)
  })
})
