// A proxy: listens for each access it is given, and records in one spool.
import { createServer, type Server, type Socket } from 'node:net'
import type { Signer } from '@agentaccess/recording'
import { adoptSpool } from './adopt/adopt.ts'
import { accessKey, type AccessConfig } from './config.ts'
import { Policy } from './decide/policy.ts'
import { Agents } from './identify/agents.ts'
import type { Access, Protocol, ServerTls } from './protocol.ts'
import { protocols } from './protocols/protocols.ts'
import { Door } from './record/door.ts'
import { lockSpool } from './record/lock.ts'
import { Sessions } from './sessions.ts'
import { startShipper } from './ship/start-shipper.ts'
import { parserReady } from './protocols/postgres/sql/parser.ts'

export interface ProxyOptions {
  /** All of one namespace: a spool has one ledger, and a ledger one namespace. */
  accesses: readonly AccessConfig[]
  /** Where each access listens, by its key. */
  listen: (access: AccessConfig) => { host: string; port: number }
  spool: string
  /** A directory; object storage joins here. */
  evidence: string
  signer: Signer
  tls?: ServerTls
  log: (level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => void
}

export interface RunningProxy {
  endpoints: { access: string; host: string; port: number }[]
  /** No new sessions; those that run have `graceMs` to end; then everything is recorded, stored and closed. A second call waits for the first. */
  stop(graceMs: number): Promise<void>
}

/** How long storing may take at the end: what is left stays in the spool, for the next start. */
const DRAIN_MS = 30_000

/** @throws where a policy does not compile, the spool is in use, or an address can't be bound; nothing is left running. */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { accesses, spool, signer, log } = options
  const namespace = accesses[0]?.namespace ?? 'default'
  if (accesses.some((access) => access.namespace !== namespace)) throw new Error('the accesses of one proxy are in one namespace')
  const policies = accesses.map((config) => new Policy(config.policy, config.revision))
  const lock = lockSpool(spool)
  await parserReady
  const { recorder, interrupted, warnings } = await adoptSpool(spool, namespace, signer)
  for (const warning of warnings) log('error', { spool }, warning)
  if (interrupted.length > 0) log('warn', { sessions: interrupted }, 'ended sessions that the former proxy left')
  const shipper = startShipper(
    { folder: spool, namespace, evidence: options.evidence, signingKeyPem: signer.privatePem },
    (report) => {
      if (report.kind === 'stored') recorder.stored(report.access, report.bytes)
      else if (report.kind === 'failing') log('error', { evidence: options.evidence }, `evidence can't be stored, and waits in the spool: ${report.message}`)
      else if (report.kind === 'recovered') log('info', {}, 'evidence is stored again')
    },
    (error) => log('error', {}, `the shipper failed; everything stays in the spool: ${error.message}`),
  )
  const running = accesses.map((config, i): Access => {
    const { target } = config
    const door = new Door(recorder, accessKey(config), {
      'agentaccess.target': `${target.kind}://${target.host}:${target.port}`,
      'agentaccess.policy.revision': config.revision,
      'k8s.namespace.name': config.namespace,
    })
    return { config, policy: policies[i]!, agents: new Agents(config), sessions: new Sessions(), door, recorder, tls: options.tls }
  })
  const servers: Server[] = []
  const endpoints: RunningProxy['endpoints'] = []
  const connections = new Set<Socket>()
  const stop = async (graceMs: number) => {
    for (const server of servers) server.close()
    await drained(running, graceMs)
    for (const { door } of running) door.close()
    await recorder.close()
    for (const socket of connections) socket.destroy()
    if (!(await shipper.drain(DRAIN_MS))) log('error', { spool }, 'not all evidence could be stored: the rest waits in the spool, for the next start')
    lock.release()
  }
  try {
    for (const access of running) {
      const { server, host, port } = await listen(access, options.listen(access.config), connections)
      servers.push(server)
      endpoints.push({ access: accessKey(access.config), host, port })
    }
  } catch (error) {
    await stop(0)
    throw error
  }
  let stopped: Promise<void> | undefined
  return { endpoints, stop: (graceMs) => (stopped ??= stop(graceMs)) }
}

async function listen(
  access: Access,
  where: { host: string; port: number },
  connections: Set<Socket>,
): Promise<{ server: Server; host: string; port: number }> {
  const protocol: Protocol = protocols[access.config.target.kind]
  const server = createServer({ pauseOnConnect: false }, (socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
    void protocol.serve(socket, access)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new Error(`${where.host}:${where.port} is in use: give access ${accessKey(access.config)} another port`) : error),
    )
    server.listen(where.port, where.host, resolve)
  })
  const address = server.address()
  return { server, host: where.host, port: typeof address === 'object' && address !== null ? address.port : where.port }
}

/** Waits for the sessions to end by themselves, then ends those that are left. */
async function drained(accesses: Access[], graceMs: number): Promise<void> {
  const left = () => accesses.flatMap(({ sessions }) => sessions.live())
  const deadline = Date.now() + graceMs
  while (left().length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
  for (const session of left()) session.requestEnd('proxy', 'the proxy stops')
  // A session that is still being set up has no one to ask.
  for (const session of left()) session.end('proxy', 'the proxy stops')
}
