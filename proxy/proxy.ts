// A proxy: listens for each access it is given, and records in one spool.
import { createServer, type Server, type Socket } from 'node:net'
import type { Signer } from '@agentaccess/recording'
import { adoptSpool } from './adopt/adopt.ts'
import { compileAccess, LiveAccess } from './access.ts'
import { accessKey, type AccessConfig } from './config.ts'
import type { Access, Protocol, Services } from './protocol.ts'
import { protocols } from './protocols/protocols.ts'
import type { Account } from './record/account.ts'
import { lockSpool } from './record/lock.ts'
import type { Recorder } from './record/recorder.ts'
import type { EndedBy } from './record/session-record.ts'
import type { EvidencePlace } from './ship/evidence-place.ts'
import type { OtlpOptions } from './ship/otlp/sender.ts'
import { retentionOf } from './ship/retention.ts'
import { ShipStatus, type ShippingState } from './ship/ship-status.ts'
import { startShipper } from './ship/start-shipper.ts'
import { parserReady } from './protocols/postgres/sql/parser.ts'

export interface ProxyOptions extends Services {
  /** All of one namespace: a spool has one ledger, and a ledger one namespace. */
  accesses: readonly AccessConfig[]
  /** Where each access listens, by its key. */
  listen: (access: AccessConfig) => { host: string; port: number }
  spool: string
  evidence: EvidencePlace
  /** The collector, where there is one. */
  otlp?: OtlpOptions
  signer: Signer
  /** Default: that of the first access. */
  namespace?: string
  log: (level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => void
}

/** What a proxy says of itself, for status and metrics. */
export interface ProxyState extends ShippingState {
  accesses: {
    access: string
    port: number
    activeSessions: number
    lastSessionTime?: string
    /** Bytes of it that wait in the spool, and how many may. */
    waitingBytes: number
    spoolQuota: number
    /** Since the proxy started. */
    counts: Omit<Account, 'bytes' | 'add'>
    /** Why nothing of it can be recorded now. */
    blocked?: string
  }[]
}

export interface RunningProxy {
  endpoints: { access: string; host: string; port: number }[]
  state(): ProxyState
  /**
   * Takes the accesses as they are now. One that is new listens, of one that is gone the sessions end, one that has changed goes on
   * with its sessions, by its new rules. @throws where a policy does not compile: then nothing has changed; or where a
   * new address can't be bound.
   */
  update(accesses: readonly AccessConfig[]): Promise<void>
  /**
   * No new sessions; those that run have `graceMs` to end; then everything is recorded, stored and closed. A second call
   * waits for the first. False where not all could be stored: the rest waits in the spool.
   */
  stop(graceMs: number): Promise<boolean>
}

/** How long storing may take at the end: what is left stays in the spool, for the next start. */
const DRAIN_MS = 30_000

/** An access that listens. */
interface Listening {
  access: LiveAccess
  server: Server
  host: string
  port: number
}

/** @throws where a policy does not compile, the spool is in use, or an address can't be bound; nothing is left running. */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { accesses, spool, signer, log } = options
  const namespace = options.namespace ?? accesses[0]?.namespace ?? 'default'
  for (const access of accesses) compileAccess(access)
  const lock = lockSpool(spool)
  await parserReady
  const { recorder, interrupted, warnings } = await adoptSpool(spool, namespace, signer)
  for (const warning of warnings) log('error', { spool }, warning)
  if (interrupted.length > 0) log('warn', { sessions: interrupted }, 'ended sessions that the former proxy left')
  const shipping = new ShipStatus(options.evidence, options.otlp, log)
  const shipper = startShipper(
    { folder: spool, namespace, evidence: options.evidence, signingKeyPem: signer.privatePem, retention: retentionOf(accesses), otlp: options.otlp },
    (report) => {
      if (report.kind === 'stored') recorder.stored(report.access, report.bytes)
      else shipping.take(report)
    },
    (error) => shipping.died(error),
  )
  const running = new Map<string, Listening>()
  const connections = new Set<Socket>()
  const update = async (configs: readonly AccessConfig[]) => {
    if (configs.some((access) => access.namespace !== namespace)) throw new Error('the accesses of one proxy are in one namespace')
    for (const config of configs) compileAccess(config)
    shipper.retain(retentionOf(configs))
    for (const config of configs) running.get(accessKey(config))?.access.update(config)
    const keys = new Set(configs.map(accessKey))
    for (const [key, { access, server }] of running) {
      if (keys.has(key)) continue
      running.delete(key)
      server.close()
      endSessions([access], 'suspended', 'the access was deleted')
      access.door.close()
    }
    for (const config of configs) {
      if (running.has(accessKey(config))) continue
      const access = new LiveAccess(config, recorder, options)
      running.set(access.key, { access, ...(await listen(access, options.listen(config), connections)) })
    }
  }
  const stop = async (graceMs: number) => {
    const all = [...running.values()]
    for (const { server } of all) server.close()
    await sessionsEnded(
      all.map(({ access }) => access),
      graceMs,
    )
    for (const { access } of all) access.door.close()
    await recorder.close()
    for (const socket of connections) socket.destroy()
    const drained = await shipper.drain(DRAIN_MS)
    if (!drained) log('error', { spool }, 'not all evidence could be stored: the rest waits in the spool, for the next start')
    lock.release()
    return drained
  }
  try {
    await update(accesses)
  } catch (error) {
    await stop(0)
    throw error
  }
  let stopped: Promise<boolean> | undefined
  return {
    get endpoints() {
      return [...running].map(([access, { host, port }]) => ({ access, host, port }))
    },
    state: () => ({ accesses: [...running].map(([key, { access, port }]) => stateOf(key, access, port, recorder)), ...shipping.state(recorder.lastAppend) }),
    update,
    stop: (graceMs) => (stopped ??= stop(graceMs)),
  }
}

function stateOf(key: string, access: LiveAccess, port: number, recorder: Recorder): ProxyState['accesses'][number] {
  const { spoolQuota } = access.config.recording
  const { lastOpened, size } = access.sessions
  const { bytes, sessions, commands, denied, errors, recordedBytes } = recorder.account(key)
  const counts = { sessions, commands, denied, errors, recordedBytes }
  const state: ProxyState['accesses'][number] = { access: key, port, activeSessions: size, waitingBytes: bytes, spoolQuota, counts }
  if (lastOpened) state.lastSessionTime = lastOpened.toISOString()
  const blocked = recorder.blocked(key, spoolQuota)
  if (blocked !== undefined) state.blocked = blocked
  return state
}

async function listen(access: LiveAccess, where: { host: string; port: number }, connections: Set<Socket>): Promise<Omit<Listening, 'access'>> {
  const protocol: Protocol = protocols[access.config.target.kind]
  const server = createServer({ pauseOnConnect: false }, (socket) => {
    connections.add(socket)
    socket.once('close', () => connections.delete(socket))
    void protocol.serve(socket, access)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(error.code === 'EADDRINUSE' ? new Error(`${where.host}:${where.port} is in use: give access ${access.key} another port`) : error),
    )
    server.listen(where.port, where.host, resolve)
  })
  const address = server.address()
  return { server, host: where.host, port: typeof address === 'object' && address !== null ? address.port : where.port }
}

const liveSessions = (accesses: readonly Access[]) => accesses.flatMap(({ sessions }) => sessions.live())

/** Waits for the sessions to end by themselves, then ends those that are left. */
async function sessionsEnded(accesses: readonly Access[], graceMs: number): Promise<void> {
  const deadline = Date.now() + graceMs
  for (const session of liveSessions(accesses)) session.drain()
  while (liveSessions(accesses).length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
  endSessions(accesses, 'proxy', 'the proxy stops')
}

function endSessions(accesses: readonly Access[], by: EndedBy, why: string): void {
  for (const session of liveSessions(accesses)) session.requestEnd(by, why)
  // A session that is still being set up has no one to ask.
  for (const session of liveSessions(accesses)) session.end(by, why)
}
