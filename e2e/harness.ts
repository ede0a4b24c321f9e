// A proxy in this process, in front of a real PostgreSQL, and what it recorded.
import { join } from 'node:path'
import { startProxy, type AccessConfig, type PostgresTarget, type RunningProxy, type ServerTls } from '@agentaccess/proxy'
import {
  DirectoryStore,
  findSessions,
  generateSigningKeyPem,
  readEvents,
  signerFromPem,
  trustGiven,
  verifyEvidence,
  type Event,
  type Findings,
} from '@agentaccess/recording'
import type { PostgresServer } from './postgres.ts'
import type { Scope } from './scope.ts'

export const TOKEN = 'the-token-of-claude'
export const ROLE = { user: 'app', password: 'secret-of-the-role' }

export interface HarnessOptions {
  access?: Partial<Omit<AccessConfig, 'target' | 'recording'>> & { target?: Partial<PostgresTarget>; recording?: Partial<AccessConfig['recording']> }
  tls?: ServerTls
  /** A name for the spool and evidence; the same again adopts them. */
  name?: string
}

export interface Harness {
  port: number
  proxy: RunningProxy
  folder: string
  evidence: string
  warnings: string[]
  /** Ends the proxy. */
  stop(): Promise<boolean>
  /** Ends the proxy and reads every session, the oldest first. Door sessions only with `doors`. */
  recorded(options?: { doors?: boolean }): Promise<Event[][]>
  verify(): Promise<Findings>
}

/** The role and database that tests use; owned by the role. */
export async function makeRole(server: PostgresServer): Promise<void> {
  await server.query(`CREATE ROLE ${ROLE.user} LOGIN PASSWORD '${ROLE.password}'`)
  await server.query(`CREATE DATABASE orders OWNER ${ROLE.user}`)
}

let serial = 0
const signer = signerFromPem(generateSigningKeyPem())

export function accessFor(port: number, access: HarnessOptions['access'] = {}): AccessConfig {
  return {
    namespace: 'shop',
    name: 'orders',
    revision: 'r1',
    agents: [{ name: 'claude', token: TOKEN }],
    policy: { default: 'Allow', rules: [] },
    suspended: false,
    ...access,
    target: {
      kind: 'postgres',
      host: '127.0.0.1',
      port,
      database: 'orders',
      username: ROLE.user,
      password: ROLE.password,
      tls: { mode: 'Disable' },
      ...access.target,
    },
    recording: {
      parameters: true,
      durability: 'Written',
      results: 'Summary',
      outputCap: 2 ** 20,
      redact: [],
      maxCommandBytes: 64 * 1024 * 1024,
      spoolQuota: 2 ** 31,
      ...access.recording,
    },
  }
}

export async function startHarness(scope: Scope, targetPort: number, options: HarnessOptions = {}): Promise<Harness> {
  const folder = join(scope.folder, options.name ?? `proxy-${serial++}`)
  const evidence = join(folder, 'evidence')
  const warnings: string[] = []
  const proxy = await startProxy({
    accesses: [accessFor(targetPort, options.access)],
    listen: () => ({ host: '127.0.0.1', port: 0 }),
    spool: join(folder, 'spool'),
    evidence,
    signer,
    ...(options.tls ? { tls: options.tls } : {}),
    log: (_level, _fields, message) => warnings.push(message),
  })
  let stopped: Promise<boolean> | undefined
  const stop = () => (stopped ??= proxy.stop(0))
  const store = new DirectoryStore(evidence)
  return {
    port: proxy.endpoints[0]!.port,
    proxy,
    folder,
    evidence,
    warnings,
    stop,
    recorded: async ({ doors = false } = {}) => {
      await stop()
      const sessions: Event[][] = []
      for (const location of await findSessions(store)) {
        const events: Event[] = []
        for await (const { event } of readEvents(store, location)) events.push(event)
        const [first] = events
        if (doors || !(first?.kind === 'session.started' && first.attributes['agentaccess.door'] === true)) sessions.push(events)
      }
      return sessions.sort((a, b) => (a[0]!.session < b[0]!.session ? -1 : 1))
    },
    verify: async () => {
      await stop()
      return verifyEvidence(store, { trust: trustGiven(new Map([[signer.keyId, signer.publicKey]])) })
    },
  }
}

/** An event as a test compares it: without what differs from run to run. */
function gist(event: Event): string {
  return words(event).trimEnd()
}

function textOf(attributes: Record<string, unknown> | undefined, name: string): string {
  const value = attributes?.[name]
  return typeof value === 'string' ? value : ''
}

function words(event: Event): string {
  switch (event.kind) {
    case 'command':
    case 'statement':
      return `${event.kind} ${String(event.attributes['db.query.text'] ?? event.attributes['db.operation.name'])}${event.attributes['agentaccess.parameters'] ? ` ${JSON.stringify(event.attributes['agentaccess.parameters'])}` : ''}`
    case 'result':
      // How much data was on its way when a COPY failed is a matter of time.
      return `result ${event.status}${event.final ? '' : ' …'} ${textOf(event.attributes, 'agentaccess.command.tag') || textOf(event.attributes, 'db.response.status_code')}${event.copy && event.status === 'ok' ? ` ${event.copy.direction} ${event.copy.rows} ${event.copy.bytes} ${event.copy.sha256}` : ''}`
    case 'decision':
      return `${event.action} by ${event.rule}`
    case 'session.ended':
      return `ended by ${event.by}`
    default:
      return event.kind
  }
}

export const gists = (events: readonly Event[]): string[] => events.filter(({ kind }) => kind !== 'checkpoint' && kind !== 'session.started').map(gist)
