// What is not to be recorded is nowhere: not in the spool, not in the evidence, not in what the program says.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { zstdDecompressSync } from 'node:zlib'
import { makeRole, ROLE, startHarness, TOKEN } from './harness.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'
import { build, types, WireClient } from './wire-client.ts'

const { bind, execute, parse, query, sync } = build
const scope = new Scope('secrets')
let server: PostgresServer

/** Every file below a folder, unpacked, as one text. */
function contents(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => {
      const bytes = readFileSync(path)
      return (path.endsWith('.zst') ? zstdDecompressSync(bytes) : bytes).toString('latin1')
    })
    .join('\n')
}

const CARD = '4111111111111111'

describe('secrets', () => {
  before(async () => {
    server = await startPostgres(scope, { hba: ['host all all 127.0.0.1/32 password'] })
    await makeRole(server)
  })
  after(() => scope.close())

  const texts = [
    `SELECT '${CARD}' AS card`,
    `SELECT ${CARD}::text -- ${CARD}`,
    `SELECT '${CARD} is no number'::int`,
    `DO $$ BEGIN RAISE EXCEPTION 'card ${CARD}' USING DETAIL = 'it is ${CARD}'; END $$`,
    `DO $$ BEGIN RAISE NOTICE 'card ${CARD}'; END $$`,
    `SELECT "${CARD}"`,
    `PREPARE "p${CARD}" AS SELECT 1`,
    `SET application_name = 'task:${CARD}'`,
    `SET my.card = '${CARD}'`,
    `SELEC ${CARD}`,
    `SELECT 1 ${CARD}`,
    "CREATE TABLE PASSWORD 's3cret-in-the-wrong-place'",
    'CREATE TABLE PASSWORD $$s3cret-in-the-wrong-place$$',
    `DELETE FROM x WHERE card = '${CARD}'`,
    `SELECT '${'x'.repeat(100_000)}${CARD}'`,
    "ALTER ROLE nobody PASSWORD 's3cret-of-nobody'",
    "SELECT 'host=db user=me password=s3cret-of-dblink'",
    "SELECT 'host=db password = ''s3cret of dblink'' user=me'",
    "SELECT 'postgresql://me:s3cret-of-uri@db/orders?sslmode=require'",
    "SELECT 'postgresql://me:s3cret/of@uri@db/orders'",
    "SELECT 'Server=db;Password=s3cret-of-ado;Database=x'",
    "SELECT 'https://db/?password=s3cret-of-query&x=1'",
    "CREATE SUBSCRIPTION s CONNECTION 'host=db password=s3cret-of-subscription' PUBLICATION p",
    "DO $$ BEGIN RAISE EXCEPTION 'can not reach postgresql://me:s3cret-of-error@db'; END $$",
    "DO $$ BEGIN RAISE EXCEPTION 'x' USING DETAIL = 'ALTER ROLE a PASSWORD ''s3cret-in-detail'''; END $$",
    "DO $$ BEGIN EXECUTE 'ALTER ROLE nobody PASSWORD ''s3cret-in-do'''; END $$",
  ]

  test('in text, parameters, names, errors, notices and start-up; allowed, denied or failed', async () => {
    const rules = [{ name: 'no-delete', when: "'DELETE' in command.operations", action: 'Deny' as const }]
    const harness = await startHarness(scope, server.port, {
      access: { policy: { default: 'Allow', rules }, recording: { redact: ['\\b\\d{16}\\b', 'p\\d{16}', 'x{1000}\\d{16}'] } },
    })
    // Without rules the server itself says what is wrong with a text, in its own words.
    const open = await startHarness(scope, server.port, { access: { recording: { redact: ['\\d{16}'] } } })
    const past = await WireClient.connect(open.port, { password: TOKEN })
    for (const text of texts) await past.ask(query(text))
    await past.end()
    await open.recorded()
    const openStored = contents(open.folder)
    const client = await WireClient.connect(harness.port, {
      password: TOKEN,
      parameters: { application_name: `task:${CARD}`, options: `-c my.card=${CARD}` },
    })
    for (const text of texts) await client.ask(query(text))
    const values = [CARD, 'password=s3cret-of-parameter', 'postgresql://me:s3cret-of-parameter@db']
    for (const value of values) {
      await client.ask([parse('', 'SELECT $1::text'), bind('', '', [value]), execute(''), sync()])
      await client.ask([parse('', 'SELECT $1::int'), bind('', '', [value]), execute(''), sync()])
    }
    await client.ask([parse(`s${CARD}`.replace('s', 'p'), 'SELECT 1'), bind(`p${CARD}`, `p${CARD}`), execute(`p${CARD}`), sync()])
    // A value that the protocol splits anywhere: what is recorded is the message, not the chunk.
    const split = query(`SELECT '${CARD}', 'password=s3cret-of-chunks'`)
    for (let at = 0; at < split.length; at++) {
      client.socket.write(split.subarray(at, at + 1))
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.match(types(await client.ready()), /Z$/)
    await client.end()
    await WireClient.connect(harness.port, { user: `p${CARD}`, password: 'wrong' }).catch(() => {})
    const spooled = contents(join(harness.folder, 'spool'))
    const sessions = await harness.recorded({ doors: true })
    const stored = contents(harness.folder)
    for (const [where, text] of [
      ['the spool', spooled],
      ['spool and evidence', stored],
      ['spool and evidence of what has no rules', openStored],
      ['the log', harness.warnings.join('\n')],
    ] as const) {
      for (const secret of [CARD, 's3cret', ROLE.password, TOKEN]) {
        const at = text.indexOf(secret)
        assert.equal(at, -1, `${secret} is in ${where}: …${text.slice(at - 150, at + 50)}…`)
      }
    }
    const events = sessions.flat()
    const recorded = events.flatMap((event) => (event.kind === 'command' ? [String(event.attributes['db.query.text'])] : []))
    assert.ok(recorded.includes("SELECT '[REDACTED]' AS card"))
    assert.ok(recorded.includes("ALTER ROLE nobody PASSWORD '[REDACTED]'"))
    assert.ok(recorded.includes("SELECT 'postgresql://me:[REDACTED]@db/orders?sslmode=require'"))
    assert.ok(recorded.length >= texts.length)
    assert.ok(events.some((event) => event.kind === 'connection.refused'))
  })
})
