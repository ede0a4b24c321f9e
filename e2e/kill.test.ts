// The proxy is killed at random moments under load. Nothing that it forwarded is missing from the record, and all of it verifies.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { DirectoryStore, findSessions, publicKeysFromPem, readEvents, trustGiven, verifyEvidence, type Findings } from '@agentaccess/recording'
import { makeRole, TOKEN } from './harness.ts'
import { startPostgres } from './postgres.ts'
import { Random } from './random.ts'
import { Scope } from './scope.ts'
import { startServe, writeManifest } from './serve-process.ts'
import { build, WireClient } from './wire-client.ts'

/** Each round has a server and evidence of its own: all of it is looked at after every kill. */
const ROUNDS = process.env.SOAK ? 10 : 1
const KILLS = 50
const CLIENTS = 4
const random = new Random()

/** Each statement has a number of its own, by which the server's log and the record are compared. */
async function load(port: number, client: string, stopped: () => boolean, begun: () => void): Promise<void> {
  const { query, parse, bind, execute, sync } = build
  const connection = await WireClient.connect(port, { password: TOKEN }).catch(() => undefined)
  for (let n = 0; connection && !connection.closed && !stopped(); n++) {
    const id = `/* ${client}.${n} */`
    const request = random.pick([
      [query(`${id} SELECT 1`)],
      [query(`${id} INSERT INTO t VALUES (1); ${id} SELECT 2`)],
      [parse('', `${id} UPDATE t SET a = a + 1 WHERE a = -1`), bind('', ''), execute(''), sync()],
      [parse('s', `${id} SELECT $1::int`), bind('', 's', ['1']), execute(''), build.close('S', 's'), sync()],
    ])
    begun()
    await connection.ask(request).catch(() => {})
  }
  connection?.socket.destroy()
}

// The numbers in a text, in their order.
const ids = (text: string): string[] => [...text.matchAll(/\/\* (\d+-\d+\.\d+) \*\//g)].map((match) => match[1]!)

describe('kill', () => {
  before(() => console.log(`seed ${random.seed}`))

  for (let round = 1; round <= ROUNDS; round++)
    test(`killed ${KILLS} times under load, it loses nothing that it forwarded (${round} of ${ROUNDS})`, async () => {
      const scope = new Scope('kill')
      await killed(scope).finally(() => scope.close())
    })
})

async function killed(scope: Scope): Promise<void> {
  const server = await startPostgres(scope, { settings: { log_statement: 'all', log_line_prefix: '%p ' } })
  await makeRole(server)
  await server.query('CREATE TABLE t (a int); ALTER TABLE t OWNER TO app', [], 'orders')
  const manifest = writeManifest(scope, server.port)
  const evidence = join(scope.folder, 'evidence')
  const store = new DirectoryStore(evidence)
  const recorded = new Map<string, string[]>()
  let logged = 0
  for (let kill = 0; kill <= KILLS; kill++) {
    const serve = await startServe(scope, manifest, evidence)
    if (kill === KILLS) await serve.stop()
    await allWhole(store, join(`${evidence}.spool`, 'public-key.pem'), serve.log(), kill)
    await readNew(store, recorded)
    logged = compare(server.log(), logged, recorded, kill)
    if (kill === KILLS) break
    let stopped = false
    let clients: Promise<void>[] = []
    await new Promise<void>((begun) => {
      clients = Array.from({ length: CLIENTS }, (_, i) => load(serve.port, `${kill}-${i}`, () => stopped, begun))
      // Where none can begin, what follows says so.
      void Promise.all(clients).then(() => begun())
    })
    await new Promise((resolve) => setTimeout(resolve, 30 + random.below(300)))
    await serve.kill()
    stopped = true
    await Promise.all(clients)
    // What the server had got, it has done and logged before the next round looks.
    await server.query('SELECT 1')
  }
  assert.ok(logged > KILLS * 10, `only ${logged} statements`)
}

/** What the former proxy left is stored soon after this start, and all of it is whole. */
async function allWhole(store: DirectoryStore, publicKey: string, log: string, kill: number): Promise<void> {
  const adopted = /"sessions":(\[[^\]]*\])/.exec(log)
  const left = adopted ? (JSON.parse(adopted[1]!) as string[]) : []
  if (kill > 0) assert.ok(left.length > 0, `no session was adopted (kill ${kill}, seed ${random.seed}): ${log}`)
  let findings: Findings | undefined
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 100))) {
    findings = await verifyEvidence(store, { trust: trustGiven(publicKeysFromPem(readFileSync(publicKey, 'utf8'))) })
    const whole = new Set(findings.sessions.filter(({ verdict }) => verdict === 'whole').map(({ session }) => session))
    if (findings.problems.length === 0 && whole.size === findings.sessions.length && left.every((session) => whole.has(session))) return
  }
  assert.fail(
    `after kill ${kill} (seed ${random.seed}): ${JSON.stringify(findings?.problems)} ${JSON.stringify(findings?.sessions.filter(({ verdict }) => verdict !== 'whole'))}`,
  )
}

/** The ids of every session's commands and statements, in their order. */
async function readNew(store: DirectoryStore, recorded: Map<string, string[]>): Promise<void> {
  for (const location of await findSessions(store)) {
    if (recorded.has(location.session)) continue
    const found: string[] = []
    for await (const { event } of readEvents(store, location))
      if (event.kind === 'command') found.push(...new Set(ids(String(event.attributes['db.query.text']))))
    recorded.set(location.session, found)
  }
}

/** Each backend's statements, as the server logged them, are a subsequence of one session's record. Returns how many there were in all. */
function compare(log: string, before: number, recorded: ReadonlyMap<string, string[]>, kill: number): number {
  const byClient = new Map<string, string[]>()
  for (const sequence of recorded.values()) {
    const [client] = sequence[0]?.split('.') ?? []
    if (client !== undefined) byClient.set(client, sequence)
  }
  const byBackend = new Map<string, string[]>()
  let count = 0
  for (const line of log.split('\n')) {
    const match = /^(\d+) LOG: {2}(?:statement|execute [^:]*): (.*)$/.exec(line)
    if (!match) continue
    for (const id of new Set(ids(match[2]!))) {
      byBackend.set(match[1]!, [...(byBackend.get(match[1]!) ?? []), id])
      count++
    }
  }
  for (const logged of byBackend.values()) {
    const sequence = byClient.get(logged[0]!.split('.')[0]!) ?? []
    let at = 0
    for (const id of logged) {
      const found = sequence.indexOf(id, at)
      assert.notEqual(found, -1, `the server ran ${id}, which is not in the record (kill ${kill}, seed ${random.seed})`)
      at = found + 1
    }
  }
  return Math.max(before, count)
}
