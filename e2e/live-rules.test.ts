// A manifest changes while sessions run: from the next command on it is in force, and no session is dropped for it.
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { DirectoryStore, findSessions, publicKeysFromPem, readEvents, trustGiven, verifyEvidence, type Event } from '@agentaccess/recording'
import { makeRole, TOKEN } from './harness.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'
import { startServe, writeManifest, type ServeProcess } from './serve-process.ts'
import { build, errorCode, messages, types, WireClient } from './wire-client.ts'

const { bind, execute, parse, query, sync } = build
const scope = new Scope('live-rules')
const evidence = join(scope.folder, 'evidence')
let server: PostgresServer
let serve: ServeProcess
let manifest: string

const rule = (name: string, when: string, action: string) => `  policy: {rules: [{name: ${name}, when: "${when}", action: ${action}}]}`
const codes = (bytes: Buffer) =>
  messages(bytes)
    .filter(({ type }) => type === 'E')
    .map(({ body }) => errorCode(body))

/** Writes the manifest, and waits until what the program says of it matches. */
async function change(spec: string, says: RegExp): Promise<void> {
  const before = serve.log().length
  manifest = writeManifest(scope, server.port, spec)
  for (const deadline = Date.now() + 10_000; !says.test(serve.log().slice(before)); await new Promise((resolve) => setTimeout(resolve, 50)))
    if (Date.now() > deadline) assert.fail(`not within 10 s: ${serve.log().slice(before)}`)
}

const IN_FORCE = /are in force/

describe('live rules', () => {
  before(async () => {
    server = await startPostgres(scope)
    await makeRole(server)
    await server.query('CREATE TABLE t (a int); GRANT ALL ON t TO PUBLIC', [], 'orders')
    manifest = writeManifest(scope, server.port)
    serve = await startServe(scope, manifest, evidence)
  })
  after(() => scope.close())

  test('a rule that comes, changes and goes is in force from the next command, in a session that goes on', async () => {
    const client = await WireClient.connect(serve.port, { password: TOKEN })
    await client.ask([parse('s', 'DELETE FROM t'), parse('early', "SELECT 'secret-early'"), sync()])
    const deletes = async () => [...codes(await client.ask([bind('', 's'), execute(''), sync()])), ...codes(await client.ask(query('DELETE FROM t')))]
    assert.deepEqual(await deletes(), [])
    await change(rule('no-delete', "'DELETE' in command.operations", 'Deny'), IN_FORCE)
    assert.deepEqual(await deletes(), ['42501', '42501'], 'a statement that was prepared before, too')
    await change(rule('no-update', "'UPDATE' in command.operations", 'Deny'), IN_FORCE)
    assert.deepEqual(await deletes(), [])
    // Within one transaction, too.
    await client.ask(query('BEGIN'))
    await change(rule('no-delete', "'DELETE' in command.operations", 'Alert'), IN_FORCE)
    assert.deepEqual(await deletes(), [])
    await client.ask(query('COMMIT'))
    // What is wrong changes nothing, and is said.
    await change(rule('broken', "'DELETE' in", 'Deny'), /can't be taken; what was in force still is: .*rule broken/)
    assert.deepEqual(await deletes(), [])
    await change('  recording: {redact: ["secret-[a-z]+"], maxCommandBytes: 1Ki}', IN_FORCE)
    assert.deepEqual(codes(await client.ask(query("SELECT 'secret-word'"))), [])
    assert.deepEqual(codes(await client.ask([bind('', 'early'), execute(''), sync()])), [])
    assert.deepEqual(codes(await client.ask(query(`SELECT '${'x'.repeat(1024)}'`))), ['54000'])
    await client.end()
  })

  test('sessions of an access that is suspended end, and new ones are refused; then it is open again', async () => {
    const client = await WireClient.connect(serve.port, { password: TOKEN })
    await change('  suspended: true', IN_FORCE)
    assert.deepEqual(codes(await client.until(() => false)), ['57P01'])
    await assert.rejects(WireClient.connect(serve.port, { password: TOKEN }), /57P03/)
    await change('', IN_FORCE)
    const again = await WireClient.connect(serve.port, { password: TOKEN })
    assert.match(types(await again.ask(query('SELECT 1'))), /Z$/)
    await again.end()
  })

  test('with other credentials for new sessions, the role that a session has logged in as is protected all the same', async () => {
    const client = await WireClient.connect(serve.port, { password: TOKEN })
    const before = serve.log().length
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('username: app', 'username: friend'))
    while (!IN_FORCE.test(serve.log().slice(before))) await new Promise((resolve) => setTimeout(resolve, 50))
    for (const role of ['app', 'friend']) assert.match((await client.ask(query(`ALTER ROLE ${role} PASSWORD 'new'`))).toString(), /built-in\/injected-role/)
    await client.end()
    await change('', IN_FORCE)
  })

  test('sessions of an agent that is listed no more end; an access that is gone listens no more', async () => {
    const client = await WireClient.connect(serve.port, { password: TOKEN })
    const before = serve.log().length
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('agents: [{name: claude', 'agents: [{name: cursor'))
    assert.deepEqual(codes(await client.until(() => false)), ['57P01'])
    const cursor = await WireClient.connect(serve.port, { password: TOKEN })
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('name: orders, namespace', 'name: others, namespace'))
    assert.deepEqual(codes(await cursor.until(() => false)), ['57P01'])
    await assert.rejects(WireClient.open(serve.port), /ECONNREFUSED/)
    assert.match(serve.log().slice(before), IN_FORCE)
  })

  test('the record says from where each revision is in force, and verifies', async () => {
    await serve.stop()
    const store = new DirectoryStore(evidence)
    const trust = trustGiven(publicKeysFromPem(readFileSync(join(`${evidence}.spool`, 'public-key.pem'), 'utf8')))
    const { sessions, problems } = await verifyEvidence(store, { trust })
    assert.deepEqual(problems, [])
    assert.ok(sessions.every(({ verdict }) => verdict === 'whole'))
    const all: Event[][] = []
    for (const location of await findSessions(store)) {
      const events: Event[] = []
      for await (const { event } of readEvents(store, location)) events.push(event)
      all.push(events)
    }
    const first = all.find((events) => events.some(({ kind }) => kind === 'policy.changed'))!
    const started = first.find(({ kind }) => kind === 'session.started')!
    const revisions = first.flatMap((event) => (event.kind === 'policy.changed' ? [event.revision] : []))
    assert.equal(new Set([(started as Extract<Event, { kind: 'session.started' }>).attributes['agentaccess.policy.revision'], ...revisions]).size, 5)
    assert.equal(revisions.length, 4)
    for (const event of first)
      if (event.kind === 'decision' && event.rule === 'no-delete') assert.equal(event.revision, revisions[event.action === 'deny' ? 0 : 2])
    assert.ok(!JSON.stringify(first).includes('secret-word'))
    assert.deepEqual(
      first.filter((event) => JSON.stringify(event).includes('secret-early')).map(({ kind }) => kind),
      ['statement'],
      'only where it was prepared, before the pattern came',
    )
    const ends = all.flatMap((events) => events.flatMap((event) => (event.kind === 'session.ended' ? [`${event.by}: ${event.reason ?? ''}`] : [])))
    for (const end of ['suspended: the access is suspended', 'policy: agent claude is not listed any more', 'suspended: the access was deleted'])
      assert.ok(ends.includes(end), ends.join('; '))
  })
})
