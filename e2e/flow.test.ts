// What flows through a session while it runs: large answers, and its evidence. The proxy is a process of its own.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { DirectoryStore, findSessions, publicKeysFromPem, readEvents, trustGiven, verifyEvidence, type Event } from '@agentaccess/recording'
import { makeRole, TOKEN } from './harness.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'
import { startServe, writeManifest, type ServeProcess } from './serve-process.ts'
import { build, types, WireClient } from './wire-client.ts'

const GB = 1_000_000_000
const MB = 1024 * 1024
const scope = new Scope('flow')
const evidence = join(scope.folder, 'evidence')
let server: PostgresServer
let serve: ServeProcess

const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${serve.process.pid}/status`, 'utf8'))![1]) * 1024

async function eventsOf(store: DirectoryStore, session?: string): Promise<Event[]> {
  const events: Event[] = []
  for (const location of await findSessions(store)) {
    if (session !== undefined && location.session !== session) continue
    for await (const { event } of readEvents(store, location)) events.push(event)
  }
  return events
}

async function eventually<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const found = await look()
    if (found !== undefined) return found
  }
  return assert.fail(`${what}: not within 20 s`)
}

describe('flow', () => {
  before(async () => {
    server = await startPostgres(scope)
    await makeRole(server)
    serve = await startServe(scope, writeManifest(scope, server.port), evidence)
  })
  after(() => scope.close())

  test('the evidence of a session follows it while it runs, and is not called whole before its end', async () => {
    const store = new DirectoryStore(evidence)
    const trust = trustGiven(publicKeysFromPem(readFileSync(join(`${evidence}.spool`, 'public-key.pem'), 'utf8')))
    const client = await WireClient.connect(serve.port, { password: TOKEN })
    for (const n of [1, 2, 3]) {
      await client.ask(build.query(`SELECT 'step ${n}'`))
      const session = await eventually(`step ${n} in the evidence`, async () => {
        const events = await eventsOf(store)
        const command = events.find((event) => event.kind === 'command' && event.attributes['db.query.text'] === `SELECT 'step ${n}'`)
        return events.some((event) => event.kind === 'result' && event.command === command?.seq) ? command?.session : undefined
      })
      const { sessions } = await verifyEvidence(store, { trust })
      assert.equal(sessions.find((report) => report.session === session)?.verdict, 'incomplete')
    }
    await client.end()
    await eventually('the end', async () => {
      const { sessions } = await verifyEvidence(store, { trust })
      return sessions.every(({ verdict }) => verdict === 'whole') ? true : undefined
    })
  })

  test('a row of 1 GB flows through in constant memory, and its size is in the record', async () => {
    const client = await WireClient.connect(serve.port, { password: TOKEN })
    await client.ask(build.query('SELECT 1'))
    client.socket.removeAllListeners('data')
    const before = rss()
    let [received, peak, tail] = [0, before, Buffer.alloc(0)]
    const sampler = setInterval(() => (peak = Math.max(peak, rss())), 20)
    client.send(build.query(`SELECT repeat('x', ${GB}) AS large`))
    await new Promise<void>((resolve, reject) => {
      client.socket.on('data', (chunk: Buffer) => {
        received += chunk.length
        tail = Buffer.concat([tail, chunk]).subarray(-6)
        // ReadyForQuery, six bytes, is the end of it.
        if (received > GB && types(tail) === 'Z') resolve()
      })
      client.socket.on('close', () => reject(new Error(`closed after ${received} bytes`)))
    })
    clearInterval(sampler)
    client.socket.removeAllListeners('close')
    assert.ok(peak - before < 128 * MB, `memory grew by ${Math.round((peak - before) / MB)} MB`)
    client.send(build.terminate())
    const bytes = await eventually('the result in the evidence', async () => {
      const events = await eventsOf(new DirectoryStore(evidence))
      return events
        .flatMap((event) => (event.kind === 'result' && event.attributes ? [Number(event.attributes['agentaccess.response.bytes'])] : []))
        .find((n) => n > GB)
    })
    // A row of one column: a count (2), its length (4), and the value.
    assert.equal(bytes, GB + 6)
  })
})
