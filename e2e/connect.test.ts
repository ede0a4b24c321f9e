// How a connection begins, fails to begin, and is cancelled. Real PostgreSQL, real TLS, stock clients.
import assert from 'node:assert/strict'
import { chmodSync, chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { connect as connectTls, createSecureContext } from 'node:tls'
import pg from 'pg'
import type { Event } from '@agentaccess/recording'
import type { ServerTls } from '@agentaccess/proxy'
import { makeAuthority, type Authority } from './certificates.ts'
import { gists, makeRole, ROLE, startHarness, TOKEN, type Harness, type HarnessOptions } from './harness.ts'
import { freePort, startPostgres, type PostgresServer } from './postgres.ts'
import { findProgram, Scope } from './scope.ts'
import { build, errorCode, messages, types, WireClient } from './wire-client.ts'

const scope = new Scope('connect')
let server: PostgresServer
let authority: Authority
let tls: ServerTls

const agents = [
  { name: 'claude', token: TOKEN },
  { name: 'cursor', token: 'the-token-of-cursor' },
  { name: 'chatgpt', clientCertificate: { commonName: 'chatgpt' } },
]

async function withProxy<T>(
  options: HarnessOptions,
  run: (harness: Harness) => Promise<T>,
  port = server.port,
): Promise<{ result: T; harness: Harness; sessions: Event[][]; doors: Event[][] }> {
  const harness = await startHarness(scope, port, { ...options, access: { agents, ...options.access } })
  try {
    const result = await run(harness)
    const all = await harness.recorded({ doors: true })
    const isDoor = ([first]: Event[]) => first?.kind === 'session.started' && first.attributes['agentaccess.door'] === true
    const findings = await harness.verify()
    assert.deepEqual(
      findings.sessions.filter(({ verdict }) => verdict !== 'whole'),
      [],
    )
    return { result, harness, sessions: all.filter((events) => !isDoor(events)), doors: all.filter(isDoor) }
  } finally {
    await harness.stop()
  }
}

const client = (port: number, options: pg.ClientConfig = {}) =>
  new pg.Client({ host: '127.0.0.1', port, user: 'claude', password: TOKEN, database: 'orders', connectionTimeoutMillis: 15_000, ...options })

/** Connects, runs one query, and says what came of it: the error's SQLSTATE, or `ok`. */
async function outcome(port: number, options: pg.ClientConfig = {}): Promise<string> {
  const one = client(port, options)
  one.on('error', () => {})
  try {
    await one.connect()
    await one.query('SELECT 1')
    await one.end()
    return 'ok'
  } catch (error) {
    await one.end().catch(() => {})
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}

const started = ([first]: readonly Event[]) =>
  first?.kind === 'session.started'
    ? `${String(first.attributes['gen_ai.agent.name'])} by ${String(first.attributes['agentaccess.agent.proof'])}, task ${String(first.attributes['agentaccess.task'])}`
    : ''
const refusals = (doors: Event[][]) =>
  doors.flat().flatMap((event) => (event.kind === 'connection.refused' ? [`${event.count} ${String(event.attributes['db.response.status_code'])}`] : []))

describe('connect', () => {
  before(async () => {
    authority = await makeAuthority('test CA')
    const target = await authority.issue('127.0.0.1', '127.0.0.1')
    const [cert, key] = [join(scope.folder, 'target.crt'), join(scope.folder, 'target.key')]
    writeFileSync(cert, target.cert)
    writeFileSync(key, target.key)
    chmodSync(key, 0o600)
    if (process.getuid?.() === 0) for (const file of [cert, key]) chownSync(file, 65534, 65534)
    server = await startPostgres(scope, {
      settings: { ssl: 'on', ssl_cert_file: cert, ssl_key_file: key, password_encryption: 'scram-sha-256' },
      hba: [
        'host all by_md5 127.0.0.1/32 md5',
        'host all by_password 127.0.0.1/32 password',
        'hostssl all by_tls 127.0.0.1/32 scram-sha-256',
        'host all by_tls 127.0.0.1/32 reject',
        'host all all 127.0.0.1/32 scram-sha-256',
      ],
    })
    await makeRole(server)
    await server.query(
      "CREATE ROLE by_tls LOGIN PASSWORD 'p'; CREATE ROLE by_password LOGIN PASSWORD 'p'; SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD 'p'",
    )
    const own = await authority.issue('localhost', '127.0.0.1')
    const context = createSecureContext({ ...own, ca: authority.cert })
    tls = { context: () => context, clientCertificates: true }
  })
  after(() => scope.close())

  test("an agent's name and token by SCRAM; any other user by the token alone; nothing else", async () => {
    const { doors, sessions } = await withProxy({}, async ({ port }) => {
      assert.equal(await outcome(port, { application_name: 'task:FLAKY-1' }), 'ok')
      assert.equal(await outcome(port, { user: 'orders_app', password: 'the-token-of-cursor' }), 'ok')
      assert.equal(await outcome(port, { password: 'wrong' }), '28P01')
      assert.equal(await outcome(port, { password: 'the-token-of-cursor' }), '28P01', "an agent's name takes that agent's proof and no other")
      assert.equal(await outcome(port, { user: 'orders_app', password: 'wrong' }), '28P01')
      assert.equal(await outcome(port, { user: 'chatgpt', password: TOKEN }), '28000', 'it proves itself by a certificate')
    })
    assert.deepEqual(sessions.map(started), ['claude by shared token, task FLAKY-1', 'cursor by shared token, task undefined'])
    assert.deepEqual(refusals(doors), ['1 28P01', '1 28P01', '1 28P01', '1 28000'])
  })

  test('TLS: asked for, direct, and with a client certificate', async () => {
    const chatgpt = await authority.issue('chatgpt')
    const stranger = await authority.issue('stranger')
    const forged = await (await makeAuthority('another CA')).issue('chatgpt')
    const ssl = { ca: authority.cert, servername: 'localhost', checkServerIdentity: () => undefined }
    const { sessions, doors } = await withProxy({ tls }, async ({ port }) => {
      assert.equal(await outcome(port, { ssl }), 'ok', 'SCRAM over TLS')
      assert.equal(await outcome(port, { ssl, user: 'x' }), 'ok', 'a token over TLS')
      assert.equal(await outcome(port, { ssl: { ...ssl, ...chatgpt }, user: 'chatgpt', password: '' }), 'ok')
      assert.equal(await outcome(port, { ssl: { ...ssl, ...chatgpt }, user: 'anything', password: '' }), 'ok')
      assert.equal(await outcome(port, { ssl: { ...ssl, ...stranger }, user: 'chatgpt', password: '' }), '28P01')
      assert.equal(await outcome(port, { ssl: { ...ssl, ...forged }, user: 'chatgpt', password: '' }), '28000')
      assert.equal(await outcome(port, { ssl: { ...ssl, ...forged }, user: 'claude' }), '28000', 'a wrong proof is final')
      const direct = connectTls({
        host: '127.0.0.1',
        port,
        ca: authority.cert,
        servername: 'localhost',
        ALPNProtocols: ['postgresql'],
        checkServerIdentity: () => undefined,
      })
      await new Promise((resolve) => direct.once('secureConnect', resolve))
      const wire = new WireClient(direct)
      wire.send(build.startup({ user: 'someone', database: 'orders' }))
      await wire.until((bytes) => types(bytes).includes('R'))
      wire.send(build.password(TOKEN))
      await wire.until((bytes) => types(bytes).includes('Z'))
      await wire.end()
    })
    assert.deepEqual(sessions.map(started), [
      'claude by shared token, task undefined',
      'claude by shared token, task undefined',
      'chatgpt by client certificate, task undefined',
      'chatgpt by client certificate, task undefined',
      'claude by shared token, task undefined',
    ])
    assert.deepEqual(refusals(doors), ['1 28P01', '1 28000', '1 28000'])
  })

  test('task and traceparent by start-up parameters: in the record, and not at the target, which knows no such settings', async () => {
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    const { sessions } = await withProxy({}, async ({ port }) => {
      for (const given of [traceparent, 'malformed']) {
        const wire = await WireClient.connect(port, { password: TOKEN, parameters: { 'agentaccess.task': 'T-9', 'agentaccess.traceparent': given } })
        wire.send(build.query('SHOW agentaccess.traceparent'))
        await wire.until((bytes) => types(bytes).includes('Z'))
        assert.equal(errorCode(messages(wire.take()).find(({ type }) => type === 'E')!.body), '42704')
        wire.send(build.terminate())
      }
    })
    const starts = sessions.map(([first]) => (first?.kind === 'session.started' ? first.attributes : {}))
    assert.deepEqual(
      starts.map((attributes) => attributes['agentaccess.task']),
      ['T-9', 'T-9'],
    )
    assert.deepEqual(
      starts.map((attributes) => attributes['agentaccess.traceparent']),
      [traceparent, undefined],
    )
  })

  test('protocol versions and options are negotiated, what is not spoken is refused', async () => {
    const { doors } = await withProxy({}, async ({ port }) => {
      const open = async (packet: Buffer) => {
        const wire = await WireClient.open(port)
        wire.send(packet)
        await wire.until((bytes) => /[RE]/.test(types(bytes)))
        wire.socket.destroy()
        return wire.take()
      }
      const newer = await open(build.startup({ user: 'x', '_pq_.other': '1' }, (3 << 16) | 2))
      assert.equal(types(newer), 'vR')
      assert.deepEqual(messages(newer)[0]!.body, Buffer.concat([Buffer.from([0, 3, 0, 0, 0, 0, 0, 1]), Buffer.from('_pq_.other\0')]))
      const code = (bytes: Buffer) => errorCode(messages(bytes).find(({ type }) => type === 'E')!.body)
      assert.equal(code(await open(build.startup({ user: 'x' }, 2 << 16))), '0A000')
      assert.equal(code(await open(build.startup({ user: 'x', replication: 'database' }))), '0A000')
      assert.equal(code(await open(build.startup({ database: 'x' }))), '08P01')
      const gss = await WireClient.open(port)
      gss.send(Buffer.from([0, 0, 0, 8, 4, 210, 22, 48]))
      await gss.until((bytes) => bytes.length > 0)
      assert.equal(gss.take().toString(), 'N')
      gss.socket.destroy()
    })
    assert.deepEqual(refusals(doors), ['1 0A000', '1 0A000', '1 08P01'])
  })

  test('the target: SCRAM, md5 and clear text; with verified TLS, and with channel binding', async () => {
    const verified = { mode: 'VerifyFull' as const, ca: authority.cert }
    const cases = [
      { username: 'by_md5', tls: { mode: 'Disable' as const } },
      { username: 'by_password', tls: { mode: 'Disable' as const } },
      { username: 'by_tls', tls: verified },
      { username: 'by_tls', tls: { mode: 'VerifyCA' as const, ca: authority.cert } },
      { username: 'by_tls', tls: { mode: 'Require' as const } },
      { username: 'by_password', tls: verified },
    ]
    for (const target of cases) {
      await withProxy({ access: { target: { ...target, password: 'p', database: 'postgres' } } }, async ({ port }) =>
        assert.equal(await outcome(port), 'ok', JSON.stringify(target)),
      )
    }
  })

  test('a target that can not be used: the right SQLSTATE, and a record', async () => {
    const nowhere = await freePort()
    const another = await makeAuthority('another CA')
    const cases: [string, NonNullable<HarnessOptions['access']>['target'], string[], string[]][] = [
      ['08001', { port: nowhere }, ['1 08001'], []],
      ['08001', { tls: { mode: 'VerifyFull', ca: another.cert } }, ['1 08001'], []],
      ['08004', { password: 'wrong' }, [], ['ended by target']],
      ['3D000', { database: 'nope' }, [], ['ended by target']],
    ]
    for (const [code, target, atDoor, inSession] of cases) {
      const { doors, sessions } = await withProxy({ access: { target: target ?? {} } }, async ({ port }) => assert.equal(await outcome(port), code))
      assert.deepEqual(refusals(doors), atDoor)
      assert.deepEqual(sessions.flatMap(gists), inSession)
    }
  })

  test('a cancel request reaches its own backend, is recorded, and can not cancel another session', async () => {
    const { sessions, doors } = await withProxy({}, async ({ port }) => {
      const [one, other] = [client(port), client(port)]
      await Promise.all([one.connect(), other.connect()])
      const slow = one.query('SELECT pg_sleep(20)').then(
        () => 'done',
        (error: { code: string }) => error.code,
      )
      const untouched = other.query("SELECT pg_sleep(1), 'untouched'")
      await new Promise((resolve) => setTimeout(resolve, 300))
      const { processID, secretKey } = one as unknown as { processID: number; secretKey: number }
      const cancel = async (id: number, secret: number) => {
        const wire = await WireClient.open(port)
        const packet = Buffer.alloc(16)
        packet.writeInt32BE(16, 0)
        packet.writeInt32BE(80877102, 4)
        packet.writeInt32BE(id, 8)
        packet.writeInt32BE(secret, 12)
        wire.send(packet)
        await wire.until(() => false)
      }
      await cancel((other as unknown as { processID: number }).processID, secretKey)
      await cancel(processID, secretKey ^ 1)
      await cancel(processID, secretKey)
      assert.equal(await slow, '57014')
      assert.equal((await untouched).rowCount, 1)
      await Promise.all([one.end(), other.end()])
    })
    assert.ok(sessions.some((events) => gists(events).join() === 'command SELECT pg_sleep(20),cancel,result cancelled 57014,ended by client'))
    assert.ok(sessions.some((events) => gists(events).includes('result ok SELECT 1')))
    assert.equal(doors.flat().filter(({ kind }) => kind === 'cancel').length, 2)
  })

  test('a flood of refused connections is counted, not written one by one', async () => {
    const { doors } = await withProxy({}, async ({ port }) => {
      for (let i = 0; i < 30; i++) assert.equal(await outcome(port, { user: 'x', password: 'wrong' }), '28P01')
    })
    const lines = refusals(doors)
    assert.equal(lines.length, 11)
    assert.equal(lines.at(-1), '20 28P01')
  })

  test('a suspended access refuses', async () => {
    await withProxy({ access: { suspended: true } }, async ({ port }) => assert.equal(await outcome(port), '57P03'))
  })

  test('a command above the limit is refused, and the connection lives on', async () => {
    const { sessions } = await withProxy({ access: { recording: { maxCommandBytes: 10_000 } } }, async ({ port }) => {
      const one = client(port)
      await one.connect()
      await assert.rejects(one.query(`SELECT '${'x'.repeat(20_000)}'`), { code: '54000' })
      await assert.rejects(one.query('SELECT $1::text', ['x'.repeat(20_000)]), { code: '54000' })
      assert.equal((await one.query('SELECT 1')).rowCount, 1)
      await one.end()
    })
    assert.equal(sessions.flatMap(gists).filter((line) => line === 'result denied 54000').length, 2)
  })

  test('a large statement and large parameters are in the record whole', async () => {
    const large = 'é'.repeat(300_000)
    const { sessions } = await withProxy({}, async ({ port }) => {
      const one = client(port)
      await one.connect()
      await one.query(`SELECT length('${large}')`)
      await one.query('SELECT length($1::text)', [large])
      await one.end()
    })
    const commands = sessions[0]!.flatMap((event) => (event.kind === 'command' ? [event.attributes] : []))
    assert.equal(commands[0]!['db.query.text.bytes'], Buffer.byteLength(`SELECT length('${large}')`))
    assert.equal(commands[1]!['agentaccess.parameters.bytes'], Buffer.byteLength(JSON.stringify([large])))
  })

  test('a quota that is used up: 53100, also in mid-session, and it recovers by itself', async () => {
    const { sessions } = await withProxy({ access: { recording: { spoolQuota: 6000 } } }, async ({ port }) => {
      const one = client(port)
      await one.connect()
      const codes: string[] = []
      for (let i = 0; i < 40; i++) {
        codes.push(
          await one.query('SELECT 1').then(
            () => 'ok',
            (error: { code: string }) => error.code,
          ),
        )
      }
      assert.equal(codes[0], 'ok')
      assert.ok(codes.includes('53100'), codes.join())
      await new Promise((resolve) => setTimeout(resolve, 3000))
      assert.equal((await one.query('SELECT 2')).rowCount, 1)
      await one.end()
    })
    assert.ok(gists(sessions[0]!).includes('deny by built-in/cannot-record'))
  })

  test('a backend that is terminated: the agent is told, and the record says by whom', async () => {
    const { sessions } = await withProxy({}, async ({ port }) => {
      const one = client(port)
      one.on('error', () => {})
      await one.connect()
      const { rows } = await one.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      await server.query('SELECT pg_terminate_backend($1)', [rows[0]!.pid])
      await assert.rejects(one.query('SELECT 1'))
    })
    assert.match(gists(sessions[0]!).join(), /ended by target/)
  })

  test('stopping: no new sessions; those that run may finish, and the rest end with a clean record', async () => {
    const harness = await startHarness(scope, server.port)
    const [finishing, idle] = [client(harness.port), client(harness.port)]
    idle.on('error', () => {})
    await Promise.all([finishing.connect(), idle.connect()])
    const running = finishing.query("SELECT pg_sleep(1), 'finished'").then(async (result) => {
      await finishing.end()
      return result.rowCount
    })
    await new Promise((resolve) => setTimeout(resolve, 200))
    const stopping = harness.proxy.stop(3000)
    assert.match(await outcome(harness.port), /ECONNREFUSED/)
    assert.equal(await running, 1)
    await stopping
    const sessions = (await harness.recorded()).map((events) => gists(events).at(-1) ?? '')
    assert.deepEqual(new Set(sessions), new Set(['ended by client', 'ended by proxy']))
  })

  test('a change of application_name to another task is an event', async () => {
    const { sessions } = await withProxy({}, async ({ port }) => {
      const one = client(port, { application_name: 'task:A-1' })
      await one.connect()
      await one.query("SET application_name = 'task:B-2'")
      await one.end()
    })
    assert.ok(gists(sessions[0]!).includes('task.changed'))
  })

  for (const durability of ['Written', 'Synced'] as const) {
    test(`twenty sessions at once, ${durability}`, async () => {
      const { sessions } = await withProxy({ access: { recording: { durability } } }, async ({ port }) => {
        await Promise.all(
          Array.from({ length: 20 }, async (_, i) => {
            const one = client(port)
            await one.connect()
            for (let n = 0; n < 10; n++) assert.equal((await one.query<{ v: string }>('SELECT $1::text AS v', [`${i}.${n}`])).rows[0]!.v, `${i}.${n}`)
            await one.end()
          }),
        )
      })
      assert.equal(sessions.length, 20)
      for (const events of sessions) assert.equal(events.filter(({ kind }) => kind === 'command').length, 10)
    })
  }

  test('psql, as it is', async (t) => {
    const psql = await findProgram('psql')
    if (psql === undefined) {
      t.diagnostic('MISSING: psql is not installed (Debian: postgresql-client); what it would do is tested with node-postgres only')
      return
    }
    await withProxy({ tls }, async ({ port }) => {
      const { stdout, stderr } = await scope.run(psql, ['-h', '127.0.0.1', '-p', String(port), '-U', 'claude', '-d', 'orders', '-Atc', 'SELECT current_user'], {
        env: { ...process.env, PGPASSWORD: TOKEN, PGSSLMODE: 'require' },
      })
      assert.equal(stdout.trim(), ROLE.user, stderr)
    })
  })

  test('pgbench, as it is: reads and writes in the simple, extended and prepared protocol', async (t) => {
    const program = await findProgram('pgbench')
    if (program === undefined) {
      t.diagnostic('MISSING: pgbench is not installed (Debian: postgresql-contrib); what it would do is tested with node-postgres only')
      return
    }
    const bench = (port: number, user: string, password: string, ...args: string[]) =>
      scope.run(program, [...args, '-h', '127.0.0.1', '-p', String(port), '-U', user, 'orders'], {
        env: { ...process.env, PGPASSWORD: password, PGSSLMODE: 'disable' },
      })
    assert.equal((await bench(server.port, ROLE.user, ROLE.password, '-i', '-q')).code, 0)
    const { sessions } = await withProxy({}, async ({ port }) => {
      for (const mode of ['simple', 'extended', 'prepared']) {
        const { code, stdout, stderr } = await bench(port, 'claude', TOKEN, '-n', '-M', mode, '-c', '4', '-t', '10')
        assert.equal(code, 0, stderr)
        assert.match(stdout, /processed: 40\/40/)
      }
    })
    const updates = sessions.flatMap(gists).filter((line) => line.startsWith('command UPDATE pgbench_accounts'))
    assert.equal(updates.length, 3 * 40)
  })
})
