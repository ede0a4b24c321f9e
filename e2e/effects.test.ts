// What an effect is: each of these breaks a naive proxy. On a real PostgreSQL.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Session, type Decision } from '@agentaccess/proxy/seam'
import { accessFor, gists, makeRole, ROLE, startHarness, TOKEN, type Harness } from './harness.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'
import { build, errorCode, messages, types, WireClient } from './wire-client.ts'

const { query, parse, bind, execute, sync, describe: describeMessage, close } = build
const scope = new Scope('effects')
let server: PostgresServer

const rules = [
  { name: 'no-delete', when: "command.operations.exists(o, o == 'DELETE')", action: 'Deny' as const, message: 'nothing is deleted here' },
  { name: 'watch-updates', when: "'UPDATE' in command.operations", action: 'Alert' as const },
]

async function proxied(
  run: (client: WireClient, harness: Harness) => Promise<void>,
  access = { policy: { default: 'Allow' as const, rules } },
): Promise<string[]> {
  const harness = await startHarness(scope, server.port, { access })
  const client = await WireClient.connect(harness.port, { password: TOKEN })
  await run(client, harness)
  await client.end()
  const findings = await harness.verify()
  assert.deepEqual(findings.problems, [])
  assert.ok(findings.sessions.every(({ verdict }) => verdict === 'whole'))
  return gists((await harness.recorded())[0]!)
}

const count = async (where: string) => Number((await server.query<{ count: string }>(`SELECT count(*) FROM ${where}`, [], 'orders')).rows[0]!.count)
const errors = (bytes: Buffer) =>
  messages(bytes)
    .filter(({ type }) => type === 'E')
    .map(({ body }) => errorCode(body))

describe('effects', () => {
  before(async () => {
    server = await startPostgres(scope, { hba: ['host all all 127.0.0.1/32 password'] })
    await makeRole(server)
    await server.query('CREATE TABLE t (a int, b text); CREATE TABLE log (what text); GRANT ALL ON t, log TO PUBLIC; ALTER TABLE t OWNER TO app', [], 'orders')
    await server.query("CREATE FUNCTION inner_write() RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES ('planned'); END $$", [], 'orders')
    await server.query('CREATE FUNCTION writes(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM inner_write(); RETURN x; END $$', [], 'orders')
    await server.query(
      `CREATE FUNCTION swap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DEALLOCATE s1'; EXECUTE 'PREPARE s1 AS DELETE FROM t'; END $$`,
      [],
      'orders',
    )
  })
  after(() => scope.close())

  test('planning at Bind has effects: the command is in the record though it was never executed', async () => {
    const before = await count('log')
    const record = await proxied(async (client) => {
      await client.ask([parse('', 'SELECT writes(1)'), bind('', ''), sync()])
    })
    assert.equal(await count('log'), before + 1, 'the function ran, without any Execute')
    assert.deepEqual(record, ['statement SELECT writes(1)', 'command SELECT writes(1)', 'result not executed', 'ended by client'])
  })

  test('a denied command aborts what belongs to it: nothing half happens', async () => {
    const record = await proxied(async (client) => {
      const answer = await client.ask([
        parse('', "INSERT INTO t VALUES (1, 'half')"),
        bind('', ''),
        execute(''),
        parse('', 'DELETE FROM t'),
        bind('', ''),
        execute(''),
        sync(),
      ])
      assert.deepEqual(errors(answer), ['42501'])
      assert.equal(types(answer), '12CEZ')
    })
    assert.equal(await count("t WHERE b = 'half'"), 0)
    assert.deepEqual(record, [
      "statement INSERT INTO t VALUES (1, 'half')",
      "command INSERT INTO t VALUES (1, 'half')",
      'statement DELETE FROM t',
      'deny by no-delete',
      'result denied 42501',
      'command DELETE FROM t',
      'result skipped',
      'result ok INSERT 0 1',
      'ended by client',
    ])
  })

  test('a denied simple Query aborts the transaction it is in', async () => {
    await proxied(async (client) => {
      await client.ask(query("BEGIN; INSERT INTO t VALUES (2, 'tx')"))
      const denied = await client.ask(query('DELETE FROM t'))
      assert.deepEqual(errors(denied), ['42501'])
      assert.equal(denied.at(-1), 'E'.charCodeAt(0), 'the transaction has failed')
      assert.equal(types(await client.ask(query('COMMIT'))), 'CZ')
      assert.equal(types(await client.ask(query('SELECT 1'))), 'TDCZ', 'the connection lives on')
    })
    assert.equal(await count("t WHERE b = 'tx'"), 0)
  })

  test('a Query of several statements with one that is denied runs nothing', async () => {
    const record = await proxied(async (client) => {
      assert.deepEqual(errors(await client.ask(query("INSERT INTO t VALUES (3, 'multi'); DELETE FROM t; SELECT 1"))), ['42501'])
    })
    assert.equal(await count("t WHERE b = 'multi'"), 0)
    assert.equal(record.filter((line) => line.startsWith('result')).length, 1)
  })

  test('names lie: a function that prepares another statement under a known name does not get it past the policy', async () => {
    await server.query("INSERT INTO t VALUES (4, 'keep')", [], 'orders')
    for (const swap of ['SELECT swap()', "DO $$ BEGIN EXECUTE 'DEALLOCATE s1'; EXECUTE 'PREPARE s1 AS DELETE FROM t'; END $$"]) {
      const record = await proxied(async (client) => {
        await client.ask([parse('s1', 'SELECT a FROM t WHERE b = $1'), sync()])
        await client.ask(query(swap))
        const answer = await client.ask([bind('', 's1', ['keep']), execute(''), sync()])
        assert.equal(types(answer), '2DCZ', 'the statement that was judged ran')
      })
      assert.ok(record.includes('command SELECT a FROM t WHERE b = $1 ["keep"]'))
    }
    assert.equal(await count("t WHERE b = 'keep'"), 1, 'nothing was deleted')
  })

  test('names lie: in one pipeline too', async () => {
    await proxied(async (client) => {
      const answer = await client.ask([
        parse('s1', 'SELECT a FROM t WHERE b = $1'),
        parse('', 'SELECT swap()'),
        bind('', ''),
        execute(''),
        bind('', 's1', ['keep']),
        execute(''),
        sync(),
      ])
      assert.equal(types(answer), '112DC2DCZ')
    })
    assert.equal(await count("t WHERE b = 'keep'"), 1)
  })

  test('a Parse of a name that exists fails, and the old text is what is judged and runs', async () => {
    const record = await proxied(async (client) => {
      await client.ask([parse('s1', "SELECT 'old'"), sync()])
      const answer = await client.ask([parse('s1', "SELECT 'new'"), sync(), bind('', 's1'), execute(''), sync()], 2)
      assert.equal(types(answer), 'EZ2DCZ')
      assert.ok(answer.includes('old'))
    })
    assert.deepEqual(
      record.filter((line) => line.startsWith('command')),
      ["command SELECT 'old'"],
    )
  })

  test('a cursor that SQL declared can not be executed by the protocol', async () => {
    await proxied(async (client) => {
      await client.ask(query('BEGIN; DECLARE c CURSOR FOR SELECT 1'))
      const answer = await client.ask([execute('c'), sync()])
      assert.deepEqual(errors(answer), ['34000'])
      await client.ask(query('ROLLBACK'))
    })
  })

  test('an Execute later than its Bind, or again, is an event of its own', async () => {
    const record = await proxied(async (client) => {
      await client.ask(query('BEGIN'))
      client.send(parse('', 'SELECT g FROM generate_series(1, 5) g'), bind('p', ''), build.flush())
      await client.until((bytes) => types(bytes) === '12')
      assert.equal(types(await client.ask([execute('p', 2), sync()])), '12DDsZ')
      assert.equal(types(await client.ask([execute('p', 0), sync()])), 'DDDCZ')
      await client.ask(query('COMMIT'))
    })
    assert.deepEqual(record, [
      'command BEGIN',
      'result ok BEGIN',
      'statement SELECT g FROM generate_series(1, 5) g',
      'command SELECT g FROM generate_series(1, 5) g',
      'execute',
      'execute',
      'result ok SELECT 3',
      'command COMMIT',
      'result ok COMMIT',
      'ended by client',
    ])
  })

  test('an unknown name at a clean session is answered by the server itself', async () => {
    await proxied(
      async (client) => {
        assert.deepEqual(errors(await client.ask([bind('', 'nope'), sync()])), ['26000'])
        assert.deepEqual(errors(await client.ask([execute('nope'), sync()])), ['34000'])
        assert.deepEqual(errors(await client.ask([describeMessage('S', 'nope'), sync()])), ['26000'])
        assert.equal(types(await client.ask([close('S', 'nope'), sync()])), '3Z')
      },
      { policy: { default: 'Allow', rules: [] } },
    )
  })

  test('an alert lets pass, and says so', async () => {
    const record = await proxied(async (client) => {
      assert.equal(types(await client.ask(query("UPDATE t SET a = a WHERE b = 'nobody'"))), 'CZ')
    })
    assert.deepEqual(record.slice(0, 3), ["command UPDATE t SET a = a WHERE b = 'nobody'", 'alert by watch-updates', 'result ok UPDATE 0'])
  })

  test('the injected role keeps its password, and a password is never in the record', async () => {
    const record = await proxied(async (client) => {
      for (const sql of [
        `ALTER ROLE ${ROLE.user} PASSWORD 'x1y2z3'`,
        "ALTER USER CURRENT_USER PASSWORD 'x1y2z3'",
        `DO $$ BEGIN EXECUTE 'ALTER ROLE app PASSWORD ''x1y2z3'''; END $$`,
        `ALTER ROLE ${ROLE.user} VALID UNTIL '2000-01-01'`,
      ]) {
        assert.deepEqual(errors(await client.ask(query(sql))), ['42501'], sql)
      }
      await client.ask(query("CREATE ROLE nobody_new PASSWORD 'x1y2z3'"))
    })
    assert.ok(!record.join('\n').includes('x1y2z3'))
    await WireClient.connect(server.port, { user: ROLE.user, password: ROLE.password }).then((client) => client.end())
  })

  test('a Query that fails in the middle has the results up to there', async () => {
    const record = await proxied(
      async (client) => {
        await client.ask(query('SELECT 1; SELECT 1/0; SELECT 2'))
      },
      { policy: { default: 'Allow', rules: [] } },
    )
    assert.deepEqual(record, ['command SELECT 1; SELECT 1/0; SELECT 2', 'result ok … SELECT 1', 'result error 22012', 'ended by client'])
  })

  test('an error in a pipeline: the rest is skipped, and said to be', async () => {
    const record = await proxied(async (client) => {
      const one = (sql: string) => [parse('', sql), bind('', ''), execute('')]
      assert.equal(types(await client.ask([...one('SELECT 1'), ...one('SELECT 1/0'), ...one('SELECT 3'), sync()])), '12DC1EZ')
    })
    assert.deepEqual(
      record.filter((line) => line.startsWith('command') || line.startsWith('result')),
      ['command SELECT 1', 'command SELECT 1/0', 'command SELECT 3', 'result ok SELECT 1', 'result error 22012', 'result skipped', 'result skipped'],
    )
  })

  for (const approved of [true, false]) {
    test(`a decision that takes its time holds the wire, in order, until it is ${approved ? 'to allow' : 'to deny'}`, async () => {
      // No rule can ask a person yet: the answer comes from here, as it will from one. All else is as it is.
      let asked: (() => void) | undefined
      const question = new Promise<void>((resolve) => (asked = resolve))
      let answer: (decision: Decision) => void = () => {}
      const decide = (command: string) => {
        if (!command.includes('held')) return undefined
        asked!()
        return new Promise<Decision>((resolve) => (answer = resolve))
      }
      const original = Object.getOwnPropertyDescriptor(Session.prototype, 'decide')!.value as Session['decide']
      Session.prototype.decide = function (this: Session, command, understood) {
        return decide(understood.text) ?? original.call(this, command, understood)
      }
      try {
        const lines = await proxied(async (client, harness) => {
          const other = await WireClient.connect(harness.port, { password: TOKEN })
          client.send(query("INSERT INTO t VALUES (77, 'before')"), query("INSERT INTO t VALUES (77, 'held')"), query("INSERT INTO t VALUES (77, 'after')"))
          await question
          assert.deepEqual(types(await other.ask(query('SELECT 1'))), 'TDCZ', 'nobody else waits')
          await other.end()
          assert.equal(await count('t WHERE a = 77'), 1, 'what stands behind waits too')
          answer(approved ? { action: 'allow' } : { action: 'deny', rule: 'a-person', message: 'not today' })
          assert.deepEqual(errors(await client.ready(3)), approved ? [] : ['42501'])
          assert.equal(await count('t WHERE a = 77'), approved ? 3 : 2)
        })
        assert.equal(lines.filter((line) => line.startsWith('command')).length, 3, 'the held command is recorded once')
        assert.equal(lines.includes('result denied 42501'), !approved)
      } finally {
        Session.prototype.decide = original
        await server.query('DELETE FROM t WHERE a = 77', [], 'orders')
      }
    })
  }

  test('an agent that leaves while its command is held: it never runs', async () => {
    const original = Object.getOwnPropertyDescriptor(Session.prototype, 'decide')!.value as Session['decide']
    let answer: (decision: Decision) => void = () => {}
    let asked: (() => void) | undefined
    const question = new Promise<void>((resolve) => (asked = resolve))
    Session.prototype.decide = () => {
      asked!()
      return new Promise<Decision>((resolve) => (answer = resolve))
    }
    const harness = await startHarness(scope, server.port)
    try {
      const client = await WireClient.connect(harness.port, { password: TOKEN })
      client.send(query("INSERT INTO t VALUES (78, 'held')"))
      await question
      client.socket.destroy()
      await new Promise((resolve) => setTimeout(resolve, 100))
      answer({ action: 'allow' })
      await new Promise((resolve) => setTimeout(resolve, 100))
      assert.equal(await count('t WHERE a = 78'), 0)
      const [record] = await harness.recorded()
      assert.deepEqual(gists(record!), ["command INSERT INTO t VALUES (78, 'held')", 'result not executed', 'ended by client'])
    } finally {
      Session.prototype.decide = original
      await harness.stop()
    }
  })

  test('a decision is for one command: where that is refused for another reason meanwhile, the next one gets its own', async () => {
    const original = Object.getOwnPropertyDescriptor(Session.prototype, 'decide')!.value as Session['decide']
    let answer: (decision: Decision) => void = () => {}
    let asked: (() => void) | undefined
    const question = new Promise<void>((resolve) => (asked = resolve))
    Session.prototype.decide = function (this: Session, command, understood) {
      if (!understood.text.includes('held')) return original.call(this, command, understood)
      asked!()
      return new Promise<Decision>((resolve) => (answer = resolve))
    }
    const access = { policy: { default: 'Allow' as const, rules } }
    const harness = await startHarness(scope, server.port, { access })
    try {
      await server.query("INSERT INTO t VALUES (79, 'stays')", [], 'orders')
      const client = await WireClient.connect(harness.port, { password: TOKEN })
      client.send(query(`SELECT 'held${'x'.repeat(200)}'`), query('DELETE FROM t WHERE a = 79'))
      await question
      await harness.proxy.update([accessFor(server.port, { ...access, recording: { maxCommandBytes: 100 } })])
      answer({ action: 'allow' })
      assert.deepEqual(errors(await client.ready(2)), ['54000', '42501'])
      assert.equal(await count('t WHERE a = 79'), 1)
      await client.end()
      const [record] = await harness.recorded()
      assert.deepEqual(gists(record!).slice(1), [
        'command undefined',
        'deny by built-in/max-command-bytes',
        'result denied 54000',
        'result not executed',
        'command DELETE FROM t WHERE a = 79',
        'deny by no-delete',
        'result denied 42501',
        'ended by client',
      ])
    } finally {
      Session.prototype.decide = original
      await harness.stop()
      await server.query('DELETE FROM t WHERE a = 79', [], 'orders')
    }
  })

  test('what waits for the target after the agent is gone has its outcome', async () => {
    const harness = await startHarness(scope, server.port)
    const client = await WireClient.connect(harness.port, { password: TOKEN })
    client.send(query("INSERT INTO t SELECT 9, 'slow' FROM pg_sleep(0.5)"))
    await new Promise((resolve) => setTimeout(resolve, 200))
    client.socket.destroy()
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const [record] = await harness.recorded()
    assert.deepEqual(gists(record!).slice(1), ['result ok INSERT 0 1', 'ended by client'])
  })
})
