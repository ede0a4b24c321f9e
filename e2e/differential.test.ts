// The same bytes sent direct and through the proxy: every byte that comes back is the same, however the bytes are cut on their way.
import assert from 'node:assert/strict'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { everyMessage, fatal, type Step } from './every-message.ts'
import { gists, makeRole, ROLE, startHarness, TOKEN, type Harness } from './harness.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'
import { messages, types, WireClient } from './wire-client.ts'

const scope = new Scope('differential')
let server: PostgresServer

/** Sends a step cut in two, each part read by the other side on its own. */
async function cut(client: WireClient, step: Step, at: number): Promise<Buffer> {
  const bytes = Buffer.concat(step.send)
  client.send(bytes.subarray(0, at))
  await new Promise((resolve) => setTimeout(resolve, 1))
  client.send(bytes.subarray(at))
  return client.ready(step.ready)
}

/** Stands between proxy and target, and cuts what the target sends at a given byte after `arm`. */
class Cutter {
  readonly server: Server
  #passed = 0
  #at = -1
  port = 0

  constructor(target: number) {
    this.server = createServer((socket) => this.#relay(socket, connect({ host: '127.0.0.1', port: target, noDelay: true })))
  }

  #relay(socket: Socket, target: Socket): void {
    socket.setNoDelay(true)
    let later: Buffer | undefined
    const release = () => {
      if (later) socket.write(later)
      later = undefined
      target.resume()
    }
    socket.on('data', (chunk: Buffer) => target.write(chunk))
    target.on('data', (chunk: Buffer) => {
      const here = this.#at - this.#passed
      this.#passed += chunk.length
      if (this.#at < 0 || here <= 0 || here >= chunk.length) {
        socket.write(chunk)
        return
      }
      socket.write(chunk.subarray(0, here))
      target.pause()
      later = chunk.subarray(here)
      setTimeout(release, 1)
    })
    target.on('close', () => {
      release()
      socket.end()
    })
    target.on('error', () => socket.destroy())
    socket.on('close', () => target.destroy())
    socket.on('error', () => target.destroy())
  }

  arm(at: number): void {
    this.#passed = 0
    this.#at = at
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    const address = this.server.address()
    this.port = typeof address === 'object' && address ? address.port : 0
  }
}

/** The bytes, but for the process id in a NotificationResponse: the two connections have each their own backend. */
function withoutPid(bytes: Buffer): string {
  for (const { type, body } of messages(bytes)) if (type === 'A') body.fill(0, 0, 4)
  return bytes.toString('latin1')
}

/** The record of one step each time it was sent: they must all be the same. */
function split(lines: readonly string[], marker: string): string[] {
  return lines
    .join('\n')
    .split(marker)
    .map((part) => part.trim())
}

const MARKER = "command SELECT 'marker'\nresult ok SELECT 1"

describe('differential', () => {
  before(async () => {
    server = await startPostgres(scope, { hba: ['host all all 127.0.0.1/32 password'] })
    await makeRole(server)
    await server.query('CREATE TABLE copied (a int, b text); ALTER TABLE copied OWNER TO app', [], 'orders')
  })
  after(() => scope.close())

  const throughProxy = async (run: (client: WireClient, harness: Harness) => Promise<void>, port = server.port): Promise<string[]> => {
    const harness = await startHarness(scope, port)
    const client = await WireClient.connect(harness.port, { password: TOKEN })
    try {
      await run(client, harness)
      await client.end()
    } finally {
      client.socket.destroy()
      await harness.stop()
    }
    const [record] = await harness.recorded()
    const findings = await harness.verify()
    assert.deepEqual(
      findings.sessions.map(({ verdict, detail }) => (verdict === 'whole' ? verdict : detail)),
      ['whole'],
    )
    return gists(record!)
  }

  test('every byte that the client sees is the same as direct', async () => {
    const direct = await WireClient.connect(server.port, { user: ROLE.user, password: ROLE.password })
    const notify = everyMessage.find(({ name }) => name === 'notification')!
    assert.match(types(await direct.ask(notify.send, notify.ready)), /A/)
    await throughProxy(async (proxied) => {
      for (const step of everyMessage)
        assert.deepEqual(withoutPid(await proxied.ask(step.send, step.ready)), withoutPid(await direct.ask(step.send, step.ready)), step.name)
    })
    await direct.end()
  })

  test('a FATAL of the target: the same bytes as direct, cut at every byte, and a record of it', async () => {
    const direct = await WireClient.connect(server.port, { user: ROLE.user, password: ROLE.password })
    direct.send(fatal)
    const expected = await direct.until(() => false)
    assert.match(expected.toString('latin1'), /SFATAL/)
    const cutter = new Cutter(server.port)
    await cutter.listen()
    const harness = await startHarness(scope, cutter.port)
    for (let at = 0; at < expected.length; at++) {
      const client = await WireClient.connect(harness.port, { password: TOKEN })
      cutter.arm(at === 0 ? -1 : at)
      client.send(fatal)
      assert.ok((await client.until(() => false)).equals(expected), `cut at ${at}`)
      cutter.arm(-1)
    }
    cutter.server.close()
    const sessions = (await harness.recorded()).map((events) => gists(events).slice(1).join())
    assert.equal(sessions.length, expected.length)
    assert.deepEqual(new Set(sessions), new Set(['result error 57P01,ended by target']))
    assert.ok((await harness.verify()).sessions.every(({ verdict }) => verdict === 'whole'))
  })

  test('what the agent sends may be cut at every byte', async () => {
    const record = await throughProxy(async (client) => {
      for (const step of everyMessage) {
        const uncut = await client.ask(step.send, step.ready)
        const length = Buffer.concat(step.send).length
        for (let at = 1; at < length; at++) {
          await client.ask(marker)
          assert.ok((await cut(client, step, at)).equals(uncut), `${step.name}, cut at ${at}`)
        }
        await client.ask(endMarker)
      }
    })
    assertSame(record)
  })

  test('what the target sends may be cut at every byte', async () => {
    const cutter = new Cutter(server.port)
    await cutter.listen()
    const record = await throughProxy(async (client) => {
      for (const step of everyMessage) {
        const uncut = await client.ask(step.send, step.ready)
        for (let at = 1; at < uncut.length; at++) {
          await client.ask(marker)
          cutter.arm(at)
          assert.ok((await client.ask(step.send, step.ready)).equals(uncut), `${step.name}, cut at ${at}`)
          cutter.arm(-1)
        }
        await client.ask(endMarker)
      }
    }, cutter.port)
    cutter.server.close()
    assertSame(record)
  })
})

const { query } = (await import('./wire-client.ts')).build
const marker = query("SELECT 'marker'")
const endMarker = query("SELECT 'end'")

/** Where a chunk ends may only add `execute` events: an Execute in a later chunk than its Bind is one. */
function assertSame(record: readonly string[]): void {
  const steps = split(record, "command SELECT 'end'\nresult ok SELECT 1")
  for (const [i, step] of everyMessage.entries()) {
    const runs = split(steps[i]!.split('\n'), MARKER).map((run) => run.split('\n').filter((line) => line !== 'execute'))
    const ordered = runs.map((run) => run.toSorted().join('\n'))
    for (const run of ordered) assert.equal(run, ordered[0], step.name)
  }
}
