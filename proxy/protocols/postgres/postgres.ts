// The PostgreSQL protocol: from an accepted connection to a running session.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { clientAddress } from '../../client-address.ts'
import { accessKey, targetOf, type AccessConfig } from '../../config.ts'
import type { Access, Protocol, TargetProblem } from '../../protocol.ts'
import { validTraceparent } from '../../traceparent.ts'
import { authenticateAgent, Refused } from './authenticate-agent.ts'
import { CancelKeys, ordinalOf } from './cancel-keys.ts'
import { cancelAtTarget, connectTarget, relayCancel, startTarget, TargetError } from './connect-target.ts'
import { ConnectionEnded, PacketReader } from './packet-reader.ts'
import { encodingRefused, unreadableEncoding } from './encodings.ts'
import { probeTarget } from './probe-target.ts'
import { Relay } from './relay.ts'
import {
  claimedTask,
  decodeStartup,
  MAX_STARTUP_BYTES,
  negotiateProtocolVersion,
  TASK_PARAMETER,
  TRACEPARENT_PARAMETER,
  wantsReplication,
  type StartupMessage,
  type StartupPacket,
} from './startup.ts'
import { authentication, AUTHENTICATION, errorResponse, ProtocolViolation, type PostgresError } from './wire.ts'

/** As PostgreSQL's authentication_timeout. */
const STARTUP_MS = 60_000
const TLS_HANDSHAKE = 0x16

export class PostgresProtocol implements Protocol {
  readonly kind = 'postgres'
  readonly defaultPort = 5432
  readonly #keys = new CancelKeys()

  async serve(plain: Socket, access: Access): Promise<void> {
    const client = { address: clientAddress(plain), port: plain.remotePort ?? 0 }
    const attributes = { 'client.address': client.address, 'client.port': client.port }
    const timer = setTimeout(() => plain.destroy(), STARTUP_MS)
    plain.setNoDelay(true)
    plain.setKeepAlive(true, 30_000)
    plain.on('error', () => {})
    let socket = plain
    try {
      const opened = await openStartup(plain, access)
      socket = opened.socket
      if (opened.packet.kind === 'cancel') await this.#cancel(opened.packet.processId, opened.packet.secret, access, attributes, plain.localPort ?? 0)
      else if (opened.packet.kind === 'startup') {
        const relay = await this.#start(socket, opened.packet, access, client)
        clearTimeout(timer)
        await relay()
        return
      }
      socket.end()
    } catch (error) {
      const response = responseFor(error)
      if (error instanceof AlreadyRecorded) socket.end(errorResponse(error.response))
      else if (response) {
        access.door.refused(client.address, {
          ...attributes,
          'db.response.status_code': response.sqlstate,
          'error.type': response.sqlstate,
          'agentaccess.error.message': response.message,
          ...(response.detail === undefined ? {} : { 'agentaccess.error.detail': response.detail }),
        })
        if (socket.writable) socket.end(errorResponse(response))
      } else socket.destroy()
    } finally {
      clearTimeout(timer)
    }
  }

  probe(target: AccessConfig['target']): Promise<TargetProblem | undefined> {
    return probeTarget(targetOf(target, 'postgres'))
  }

  /** Identify, connect, open the session, start the target. Returns what runs the session. */
  async #start(socket: Socket, startup: StartupMessage, access: Access, client: { address: string; port: number }): Promise<() => Promise<void>> {
    if (startup.major !== 3)
      throw new Refused({
        sqlstate: '0A000',
        message: `unsupported frontend protocol ${startup.major}.${startup.minor}: the proxy supports 3.0`,
        hint: 'Use a client of PostgreSQL 7.4 or later.',
      })
    if (startup.minor > 0 || startup.options.length > 0) socket.write(negotiateProtocolVersion(startup.options))
    if (wantsReplication(startup.parameters))
      throw new Refused({
        sqlstate: '0A000',
        message: 'replication connections are not let through',
        hint: 'The proxy records commands, and a replication stream has none.',
      })
    const encoding = unreadableEncoding(startup.parameters)
    if (encoding !== undefined) throw new Refused(encodingRefused(encoding))
    if (access.config.suspended)
      throw new Refused({ sqlstate: '57P03', message: `access ${accessKey(access.config)} is suspended`, hint: 'spec.suspended says so.' })
    const identity = await authenticateAgent(socket, new PacketReader(socket), startup.user, access)
    const blocked = access.recorder.blocked(accessKey(access.config), access.config.recording.spoolQuota)
    if (blocked !== undefined)
      throw new Refused({ sqlstate: '53100', message: `the session can't be recorded, so it is not let through: ${blocked}`, hint: 'Try again later.' })
    const target = targetOf(access.config.target, 'postgres')
    const connection = await connectTarget(target)
    const task = claimedTask(startup.parameters)
    const traceparent = validTraceparent(startup.parameters.get(TRACEPARENT_PARAMETER))
    for (const own of [TASK_PARAMETER, TRACEPARENT_PARAMETER]) startup.parameters.delete(own)
    const database = target.database ?? startup.database
    const session = await access.sessions.open(access, {
      identity,
      task,
      client,
      target: { kind: 'postgres', host: target.host, port: target.port, database },
      attributes: {
        'db.system.name': 'postgresql',
        'db.namespace': database,
        'agentaccess.postgres.user': startup.user,
        'agentaccess.postgres.parameters': Object.fromEntries(startup.parameters),
        ...(traceparent === undefined ? {} : { 'agentaccess.traceparent': traceparent }),
        'agentaccess.tls': socket instanceof TLSSocket ? (socket.getProtocol() ?? 'TLS') : 'none',
      },
    })
    let left = socket.destroyed
    socket.once('close', () => {
      left = true
    })
    try {
      const started = await startTarget(connection, target, database, startup.parameters)
      if (left) throw new ConnectionEnded('the client left before the target was ready')
      const key = this.#keys.add({ session, target, processId: started.processId, secret: started.secret }, access.peers?.own)
      socket.write(Buffer.concat([authentication(AUTHENTICATION.ok), ...started.greeting, key.backendKeyData, started.ready]))
      const relay = new Relay({ client: socket, target: connection.socket, session, role: target.username })
      return () => relay.run().finally(key.remove)
    } catch (error) {
      connection.socket.destroy()
      session.end(error instanceof TargetError ? 'target' : 'client', error instanceof Error ? error.message : String(error))
      if (error instanceof TargetError) throw new AlreadyRecorded(error.response)
      throw error
    }
  }

  async #cancel(processId: number, secret: Buffer, access: Access, attributes: Record<string, unknown>, port: number): Promise<void> {
    const found = this.#keys.find(processId, secret)
    if (!found || found.session.access !== access) {
      // The Service gave it to any of the proxies; the one that has the session records it.
      const { peers } = access
      const ordinal = ordinalOf(secret)
      if (peers && ordinal !== peers.own && (await relayCancel(peers.hostOf(ordinal), port, processId, secret))) return
      access.door.cancel({ ...attributes, 'agentaccess.cancel.matched': false })
      return
    }
    const { session } = found
    session.record.cancel(undefined, { ...attributes, 'agentaccess.cancel.matched': true })
    await new Promise<void>((resolve, reject) => session.pass(resolve, (reason) => reject(new Error(reason))))
    await cancelAtTarget(found.target, found.processId, found.secret)
  }
}

/** The failure ended a session, and is in its record. */
class AlreadyRecorded extends Error {
  readonly response: PostgresError

  constructor(response: PostgresError) {
    super(response.message)
    this.response = response
  }
}

function responseFor(error: unknown): PostgresError | undefined {
  if (error instanceof Refused || error instanceof TargetError) return error.response
  if (error instanceof ProtocolViolation) return { severity: 'FATAL', sqlstate: '08P01', message: error.message }
  return undefined
}

/** Reads up to the packet that says what the connection is for, through TLS where the client asks for it. */
async function openStartup(plain: Socket, access: Access): Promise<{ socket: Socket; packet: StartupPacket }> {
  let socket = plain
  let reader = new PacketReader(socket)
  const first = await reader.exactly(1)
  plain.unshift(first)
  if (first[0] === TLS_HANDSHAKE && access.tls) {
    socket = await secure(plain, access)
    // Direct TLS is told from anything else by its ALPN name, which it must have (54.2.9).
    if ((socket as TLSSocket).alpnProtocol !== 'postgresql') throw new ProtocolViolation('direct TLS without the ALPN protocol "postgresql"')
    reader = new PacketReader(socket)
  }
  for (let asked = 0; asked < 3; asked++) {
    const packet = decodeStartup(await reader.startup(MAX_STARTUP_BYTES))
    if (packet.kind === 'gss') socket.write('N')
    else if (packet.kind !== 'ssl') return { socket, packet }
    else if (!access.tls || socket instanceof TLSSocket) socket.write('N')
    else {
      socket.write('S')
      // Bytes before the handshake would be taken for bytes under its protection (CVE-2021-23214).
      if (plain.readableLength > 0) throw new ProtocolViolation('unprotected bytes before the TLS handshake')
      socket = await secure(plain, access)
      reader = new PacketReader(socket)
    }
  }
  throw new ProtocolViolation('too many encryption requests')
}

function secure(plain: Socket, access: Access): Promise<TLSSocket> {
  const { tls } = access
  const secured = new TLSSocket(plain, {
    isServer: true,
    secureContext: tls!.context(),
    requestCert: tls!.clientCertificates,
    rejectUnauthorized: false,
    ALPNProtocols: ['postgresql'],
  })
  return new Promise((resolve, reject) => {
    const fail = (error?: Error) => reject(new ConnectionEnded(error?.message ?? 'the TLS handshake was not finished'))
    secured.once('error', fail).once('close', fail)
    secured.once('secure', () => {
      secured
        .off('error', fail)
        .off('close', fail)
        .on('error', () => {})
      resolve(secured)
    })
  })
}
