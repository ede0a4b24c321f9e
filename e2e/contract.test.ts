import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net'
import { writeSync, fdatasync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { Policy } from '@agentaccess/proxy/decide'
import { Agents, Door, Sessions, type Access, type Protocol } from '@agentaccess/proxy/seam'
import { Recorder, Redactor, Spool } from '@agentaccess/proxy/record'
import { Shipper, ShipState } from '@agentaccess/proxy/ship'
import type { TargetConfig } from '@agentaccess/proxy/config'
import { KubernetesProtocol } from '@agentaccess/proxy/protocols/kubernetes'
import { PostgresProtocol } from '@agentaccess/proxy/protocols/postgres'
import {
  chainStart,
  DirectoryStore,
  findSessions,
  generateSigningKeyPem,
  readEvents,
  signerFromPem,
  trustGiven,
  verifyEvidence,
  type Event,
} from '@agentaccess/recording'
import { contract, type Connection, type Subject } from './contract.ts'
import { FakeProtocol, type Approver } from './fake-protocol.ts'
import { accessFor, makeRole, TOKEN } from './harness.ts'
import { startKubeApiServer, type KubeApiServer } from './kube-apiserver.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'
import { build, errorCode, messages, types, WireClient } from './wire-client.ts'

const scope = new Scope('contract')
const signer = signerFromPem(generateSigningKeyPem())
const rules = [{ name: 'denied', when: "'DELETE' in command.operations || 'delete' in command.operations", action: 'Deny' as const }]
let serial = 0

interface Stage {
  port: number
  access: Access
  breakRecorder(broken: boolean): void
  recorded(): Promise<Event[][]>
  verify(): Promise<string[]>
}

/** A protocol on a listening port, with a recorder whose disk can be broken, and without a shipper until the end. */
async function stage(serve: Pick<Protocol, 'serve'>, targetPort: number, target?: TargetConfig): Promise<Stage> {
  const folder = join(scope.folder, `stage-${serial++}`)
  let broken = false
  const spool = new Spool(join(folder, 'spool'), {
    disk: {
      write(fd, bytes, offset, length) {
        if (broken) throw new Error('the disk is broken')
        return writeSync(fd, bytes, offset, length)
      },
      datasync: fdatasync,
    },
  })
  const state = new ShipState(join(folder, 'spool'))
  const spoolId = state.spoolId()
  const recorder = new Recorder({ spool, spoolId, signer, ledger: { seq: 0, head: chainStart('ledger', spoolId), signedThrough: 0, lastN: 0 } })
  const ofPostgres = accessFor(targetPort, { policy: { default: 'Allow', rules } })
  const config = target ? { ...ofPostgres, target } : ofPostgres
  const access: Access = {
    config,
    policy: new Policy(config.policy, 'r1'),
    agents: new Agents(config),
    sessions: new Sessions(),
    door: new Door(recorder, 'shop/orders', {}),
    recorder,
    redactor: Redactor.none,
    tls: undefined,
  }
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    void serve.serve(socket, access)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const evidence = new DirectoryStore(join(folder, 'evidence'))
  let finished: Promise<void> | undefined
  const finish = () =>
    (finished ??= (async () => {
      server.close()
      for (const session of access.sessions.live()) session.requestEnd('proxy', 'the test is over')
      for (const session of access.sessions.live()) session.end('proxy', 'the test is over')
      access.door.close()
      await recorder.close()
      for (const socket of sockets) socket.destroy()
      const shipper = new Shipper({ state, store: evidence, signer, folder: join(folder, 'spool'), namespace: 'shop', report: () => {} })
      shipper.drain()
      await shipper.run()
    })())
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    access,
    breakRecorder: (now) => {
      broken = now
    },
    recorded: async () => {
      await finish()
      const sessions: Event[][] = []
      for (const location of await findSessions(evidence)) {
        const events: Event[] = []
        for await (const { event } of readEvents(evidence, location)) events.push(event)
        if (!(events[0]?.kind === 'session.started' && events[0].attributes['agentaccess.door'] === true)) sessions.push(events)
      }
      return sessions
    },
    verify: async () => {
      await finish()
      const { sessions, problems } = await verifyEvidence(evidence, { trust: trustGiven(new Map([[signer.keyId, signer.publicKey]])) })
      return [...problems.map(({ message }) => message), ...sessions.map(({ verdict, detail }) => (verdict === 'whole' ? verdict : detail))]
    },
  }
}

async function fakeConnection(port: number, channel = '1'): Promise<Connection> {
  const socket = connectTcp({ host: '127.0.0.1', port })
  socket.on('error', () => {})
  const answers = createInterface({ input: socket })[Symbol.asyncIterator]()
  if ((await answers.next()).value !== 'ready') throw new Error('refused')
  return {
    send: (command) => void socket.write(`${channel} ${command}\n`),
    run: async (command) => {
      socket.write(`${channel} ${command}\n`)
      const { value, done } = await answers.next()
      return done ? 'error' : (value.slice(channel.length + 1) as 'ok')
    },
    drop: async () => void socket.destroy(),
    close: async () => void socket.end(),
  }
}

async function postgresConnection(port: number): Promise<Connection> {
  const client = await WireClient.connect(port, { password: TOKEN })
  if (client.closed) throw new Error('refused')
  return {
    send: (command) => client.send(build.query(command)),
    run: async (command) => {
      client.send(build.query(command))
      const bytes = await client.until((got) => /[ZE]/.test(types(got)) && (types(got).includes('Z') || client.closed))
      client.take()
      const error = messages(bytes).find(({ type }) => type === 'E')
      return error ? (errorCode(error.body) === '42501' ? 'denied' : 'error') : types(bytes).includes('Z') ? 'ok' : 'error'
    },
    drop: async () => void client.socket.destroy(),
    close: () => client.end(),
  }
}

/** What agents have of a Kubernetes client: requests one after another, over a connection that is kept. */
function kubernetesConnection(port: number): Connection {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ask = (command: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const [verb, path] = command.split(' ') as [string, string]
      const options = { agent, host: '127.0.0.1', port, path, method: verb.toUpperCase(), headers: { authorization: `Bearer ${TOKEN}` } }
      const sent = request(options, (response) => response.resume().once('end', () => resolve(response.statusCode!)))
      sent.once('error', reject).end()
    })
  const close = async () => agent.destroy()
  return {
    send: (command) => void ask(command).catch(() => {}),
    run: async (command) => {
      const code = await ask(command)
      return code === 200 ? 'ok' : code === 403 ? 'denied' : 'error'
    },
    drop: close,
    close,
  }
}

function kubernetesTarget({ port, kubeconfig }: KubeApiServer): TargetConfig {
  const { clusters, users } = JSON.parse(kubeconfig) as { clusters: { cluster: Record<string, string> }[]; users: { user: Record<string, string> }[] }
  const pem = (base64: string | undefined) => Buffer.from(base64!, 'base64').toString()
  const { user } = users[0]!
  return {
    kind: 'kubernetes',
    host: '127.0.0.1',
    port,
    path: '',
    ca: pem(clusters[0]!.cluster['certificate-authority-data']),
    credentials: { kind: 'certificate', certificate: pem(user['client-certificate-data']), privateKey: pem(user['client-key-data']) },
    impersonate: false,
    sessionIdleMs: 60_000,
  }
}

describe('contract', () => {
  let server: PostgresServer
  let api: KubeApiServer
  before(async () => {
    api = await startKubeApiServer(scope)
    server = await startPostgres(scope, { hba: ['host all all 127.0.0.1/32 password'], settings: { log_statement: 'all', log_line_prefix: '' } })
    await makeRole(server)
  })
  after(() => scope.close())

  contract('fake', async (): Promise<Subject> => {
    const reached: string[] = []
    const protocol = new FakeProtocol(async (command) => {
      reached.push(command)
      return command.startsWith('FAIL') ? 'error' : 'ok'
    })
    const { port, ...rest } = await stage(protocol, 1)
    return {
      ...rest,
      words: { allowed: (n) => `DO ${n}`, denied: (n) => `DELETE ${n}`, failing: (n) => `FAIL ${n}` },
      connect: () => fakeConnection(port),
      reached: async () => [...reached],
    }
  })

  contract('postgres', async (): Promise<Subject> => {
    const run = `run${serial}`
    const { port, ...rest } = await stage(new PostgresProtocol(), server.port)
    return {
      ...rest,
      words: { allowed: (n) => `SELECT ${n} AS ${run}`, denied: (n) => `DELETE FROM ${run} WHERE a = ${n}`, failing: (n) => `SELECT ${n}/0 AS ${run}` },
      connect: () => postgresConnection(port),
      reached: async () => {
        await server.query('SELECT 1')
        return [...server.log().matchAll(/LOG: {2}statement: (.*)/g)].map(([, text]) => text!).filter((text) => text.includes(run))
      },
    }
  })

  contract('kubernetes', async (): Promise<Subject> => {
    const run = `run${serial}`
    const { port, ...rest } = await stage(new KubernetesProtocol(), 0, kubernetesTarget(api))
    const namespace = (verb: string, name: string) => (n: number) => `${verb} /api/v1/namespaces/${name}?run=${run}&n=${n}`
    return {
      ...rest,
      words: { allowed: namespace('get', 'default'), denied: namespace('delete', 'default'), failing: namespace('get', 'missing') },
      connect: async () => kubernetesConnection(port),
      reached: async () => {
        // The log has a request just after its answer has gone.
        await new Promise((resolve) => setTimeout(resolve, 300))
        return api.audit().flatMap(({ verb, requestURI }) => (requestURI.includes(`run=${run}&`) ? [`${verb} ${requestURI}`] : []))
      },
    }
  })

  test("kubernetes: what can't be recorded is refused, and the agent and the record are told so", async () => {
    const staged = await stage(new KubernetesProtocol(), 0, kubernetesTarget(api))
    const ask = async (n: number) => {
      const answer = await fetch(`http://127.0.0.1:${staged.port}/api/v1/namespaces/default?n=${n}`, { headers: { authorization: `Bearer ${TOKEN}` } })
      return { status: answer.status, text: await answer.text() }
    }
    assert.equal((await ask(1)).status, 200)
    staged.breakRecorder(true)
    const refused = await ask(2)
    assert.equal(refused.status, 503)
    assert.match(refused.text, /can't be recorded, so it is not let through: the spool can't be written/)
    assert.equal((await ask(3)).status, 503)
    staged.breakRecorder(false)
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.equal((await ask(4)).status, 200)
    const reached = api.audit().flatMap(({ requestURI }) => /default\?n=(\d)/.exec(requestURI)?.[1] ?? [])
    assert.deepEqual(reached, ['1', '4'])
    const [events] = await staged.recorded()
    // A request that was in hand when the disk broke has a result, too: it was not executed.
    const statuses = events!.flatMap((event) => (event.kind === 'result' ? [event.status] : event.kind === 'decision' ? [event.rule] : []))
    assert.deepEqual(
      statuses.filter((status) => status !== 'not executed'),
      ['ok', 'built-in/cannot-record', 'ok'],
    )
    assert.deepEqual(await staged.verify(), ['whole'])
  })

  test('a session that many connections share, with commands that interleave and one that is held for a person', async () => {
    let approve: () => void = () => {}
    const held = new Promise<void>((resolve) => {
      approve = resolve
    })
    const approver: Approver = (command) => (command.startsWith('ASK') ? held.then(() => ({ action: 'allow' as const })) : undefined)
    const reached: string[] = []
    const shared = await stage(
      new FakeProtocol(async (command) => {
        reached.push(command)
        return 'ok'
      }, approver),
      1,
    )
    const one = await fakeConnection(shared.port, 'a')
    const other = await fakeConnection(shared.port, 'b')
    const asked = one.run('ASK a person')
    assert.equal(await other.run('DO something meanwhile'), 'ok')
    assert.deepEqual(reached, ['DO something meanwhile'])
    approve()
    assert.equal(await asked, 'ok')
    const sessions = await shared.recorded()
    assert.equal(sessions.length, 1)
    const lines = sessions[0]!.flatMap((event) =>
      event.kind === 'command' ? [String(event.attributes['agentaccess.command.text'])] : event.kind === 'result' ? [`result of ${event.command}`] : [],
    )
    assert.deepEqual(lines, ['ASK a person', 'DO something meanwhile', 'result of 3', 'result of 2'])
    assert.deepEqual(await shared.verify(), ['whole'])
  })
})
