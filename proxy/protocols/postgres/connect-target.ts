// The connection to the target: TCP, TLS as the access says, start-up with the credentials that the agent never sees.
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls, type PeerCertificate, type TLSSocket } from 'node:tls'
import { createHash } from 'node:crypto'
import { serialize } from 'pg-protocol'
import { clientAddress, isLoopback } from '../../client-address.ts'
import type { PostgresTarget } from '../../config.ts'
import { ScramClient, ScramError, tlsServerEndPoint } from '../../identify/scram.ts'
import { encodingRefused, isReadableEncoding } from './encodings.ts'
import { ConnectionEnded, PacketReader } from './packet-reader.ts'
import { FatalRefusal } from './refusals.ts'
import { encodeCancel, encodeSslRequest, encodeStartup } from './startup.ts'
import { AUTHENTICATION, errorFields, FieldReader, ProtocolViolation } from './wire.ts'

const CONNECT_MS = 10_000
const START_MS = 60_000
const MAX_MESSAGE = 1024 * 1024

/** The target can't be used now: what the client is told, and what the record says. */
export class TargetError extends FatalRefusal {
  override readonly name = 'TargetError'
}

export interface TargetSocket {
  socket: Socket | TLSSocket
  /** A password may be sent as it is: verified TLS, or loopback. */
  confidential: boolean
  endPoint: Buffer | undefined
}

const where = (target: PostgresTarget) => `${target.host}:${target.port}`

/** TCP, and TLS where the access asks for it. Nothing of the agent's has been sent. @throws TargetError */
export async function connectTarget(target: PostgresTarget): Promise<TargetSocket> {
  const socket = connectTcp({ host: target.host, port: target.port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 })
  // Who waits for something hears of an error where it waits; between two waits it must not end the process.
  socket.on('error', () => {})
  try {
    await settled(socket, 'connect', CONNECT_MS)
  } catch (error) {
    socket.destroy()
    throw new TargetError({
      sqlstate: '08001',
      message: `the target ${where(target)} can't be reached: ${messageOf(error)}`,
      hint: 'Is the database up, and does spec.target.postgres name its host and port?',
    })
  }
  const loopback = isLoopback(clientAddress(socket))
  if (target.tls.mode === 'Disable') return { socket, confidential: loopback, endPoint: undefined }
  try {
    const secured = await startTls(socket, target)
    const certificate = secured.getPeerX509Certificate()
    return { socket: secured, confidential: loopback || target.tls.mode !== 'Require', endPoint: certificate && tlsServerEndPoint(certificate) }
  } catch (error) {
    socket.destroy()
    throw new TargetError({
      sqlstate: '08001',
      message: `TLS with the target ${where(target)} failed: ${messageOf(error)}`,
      hint: 'spec.target.postgres.tls says how the target is verified: mode, and the CA in caSecretRef.',
    })
  }
}

async function startTls(socket: Socket, target: PostgresTarget): Promise<TLSSocket> {
  socket.write(encodeSslRequest())
  const answer = await withTimeout(new PacketReader(socket).exactly(1), CONNECT_MS)
  if (answer.toString() !== 'S') throw new Error('it does not offer TLS')
  // Bytes before the handshake would be taken for bytes under its protection (CVE-2021-23222).
  if (socket.readableLength > 0) throw new Error('it sent unprotected bytes before the handshake')
  const { mode, ca } = target.tls
  const secured = connectTls({
    socket,
    ...(isIP(target.host) ? {} : { servername: target.host }),
    ...(ca === undefined ? {} : { ca }),
    ALPNProtocols: ['postgresql'],
    rejectUnauthorized: mode !== 'Require',
    ...(mode === 'VerifyFull' ? {} : { checkServerIdentity: (_host: string, _certificate: PeerCertificate) => undefined }),
    ...(mode === 'VerifyFull' ? { host: target.host } : {}),
  })
  secured.on('error', () => {})
  await settled(secured, 'secureConnect', CONNECT_MS)
  return secured
}

export interface StartedTarget {
  /** ParameterStatus and NoticeResponse, as they came. */
  greeting: Buffer[]
  processId: number
  secret: Buffer
  /** ReadyForQuery, as it came. */
  ready: Buffer
}

/** Start-up and authentication, up to the first ReadyForQuery. @throws TargetError */
export async function startTarget(
  connection: TargetSocket,
  target: PostgresTarget,
  database: string,
  parameters: ReadonlyMap<string, string>,
): Promise<StartedTarget> {
  connection.socket.write(encodeStartup(target.username, database, parameters))
  try {
    return await withTimeout(authenticate(connection, target), START_MS)
  } catch (error) {
    connection.socket.destroy()
    if (error instanceof TargetError) throw error
    if (error instanceof ScramError) throw credentialsRefused(target, error.message)
    const ended = error instanceof ConnectionEnded || error instanceof ProtocolViolation
    throw new TargetError({
      sqlstate: '08006',
      message: `the target ${where(target)} ended the start-up: ${messageOf(error)}`,
      ...(ended ? {} : { hint: 'Its own log says more.' }),
    })
  }
}

async function authenticate(connection: TargetSocket, target: PostgresTarget): Promise<StartedTarget> {
  const { socket } = connection
  const reader = new PacketReader(socket)
  const started: StartedTarget = { greeting: [], processId: 0, secret: Buffer.alloc(0), ready: Buffer.alloc(0) }
  let scram: ScramClient | undefined
  for (;;) {
    const { type, body, raw } = await reader.message(MAX_MESSAGE)
    switch (type) {
      case 'R':
        scram = await answer(connection, target, body, scram)
        break
      case 'E':
        throw startupRefused(target, errorFields(body))
      case 'S':
        checkEncoding(target, new FieldReader(body, 0, body.length))
        started.greeting.push(raw)
        break
      case 'N':
        started.greeting.push(raw)
        break
      case 'K':
        started.processId = body.readUInt32BE(0)
        started.secret = Buffer.from(body.subarray(4))
        break
      case 'Z':
        started.ready = raw
        return started
      default:
        throw new ProtocolViolation(`an unexpected message of type ${type}`)
    }
  }
}

/** A client that does not ask for an encoding gets the database's. @throws TargetError where that is not let through. */
function checkEncoding(target: PostgresTarget, status: FieldReader): void {
  const [name, value] = [status.cstring(), status.cstring()]
  if (name !== 'client_encoding' || isReadableEncoding(value)) return
  throw new TargetError({ ...encodingRefused(value), message: `the target ${where(target)} begins sessions with client_encoding ${JSON.stringify(value)}` })
}

/** Answers an Authentication request. Returns the SCRAM exchange that it belongs to. */
async function answer(connection: TargetSocket, target: PostgresTarget, body: Buffer, scram: ScramClient | undefined): Promise<ScramClient | undefined> {
  const { socket } = connection
  const fields = new FieldReader(body, 0, body.length)
  const kind = fields.int32()
  const clearOnly = (how: string) => {
    if (connection.confidential) return
    throw new TargetError({
      sqlstate: '08004',
      message: `the target ${where(target)} asks for the password ${how}, over a connection that is not verified TLS`,
      hint: 'Let it use SCRAM-SHA-256, or set spec.target.postgres.tls.mode to VerifyFull.',
    })
  }
  switch (kind) {
    case AUTHENTICATION.ok:
      if (scram && !scram.verified) throw new ScramError('it let the proxy in without proving that it knows the password')
      return undefined
    case AUTHENTICATION.cleartextPassword:
      clearOnly('in clear text')
      socket.write(serialize.password(target.password))
      return undefined
    case AUTHENTICATION.md5Password:
      clearOnly('with md5')
      socket.write(serialize.password(md5Password(target, fields.bytes(4))))
      return undefined
    case AUTHENTICATION.sasl: {
      const offered: string[] = []
      for (let name = fields.cstring(); name !== ''; name = fields.cstring()) offered.push(name)
      const exchange = new ScramClient(target.password, offered, connection.endPoint)
      socket.write(serialize.sendSASLInitialResponseMessage(exchange.mechanism, exchange.first()))
      return exchange
    }
    case AUTHENTICATION.saslContinue:
      if (!scram) throw new ProtocolViolation('SASL continued before it began')
      socket.write(serialize.sendSCRAMClientFinalMessage(await scram.final(body.toString('utf8', 4))))
      return scram
    case AUTHENTICATION.saslFinal:
      if (!scram) throw new ProtocolViolation('SASL ended before it began')
      scram.verify(body.toString('utf8', 4))
      return scram
    default:
      throw new TargetError({
        sqlstate: '08004',
        message: `the target ${where(target)} asks for an authentication that the proxy does not have (type ${kind})`,
        hint: 'SCRAM-SHA-256, md5 and password are supported.',
      })
  }
}

function md5Password(target: PostgresTarget, salt: Buffer): string {
  const md5 = (...parts: (string | Buffer)[]) => parts.reduce((hash, part) => hash.update(part), createHash('md5')).digest('hex')
  return `md5${md5(md5(target.password, target.username), salt)}`
}

function credentialsRefused(target: PostgresTarget, why: string): TargetError {
  return new TargetError({
    sqlstate: '08004',
    message: `the target ${where(target)} refuses the proxy's credentials: ${why}`,
    hint: 'The Secret in spec.target.postgres.credentials has a username and password that the target takes.',
  })
}

function startupRefused(target: PostgresTarget, fields: Map<string, string>): TargetError {
  const sqlstate = fields.get('C') ?? '08006'
  const message = fields.get('M') ?? 'no message'
  // Class 28 speaks of the injected role, which is not the agent's business: it would read as if its own proof were wrong.
  if (sqlstate.startsWith('28')) return credentialsRefused(target, message)
  const [detail, hint] = [fields.get('D'), fields.get('H')]
  return new TargetError({ sqlstate, message, ...(detail === undefined ? {} : { detail }), ...(hint === undefined ? {} : { hint }) })
}

/** Sends a CancelRequest, as the protocol has it: over a connection of its own, which the server closes. */
export async function cancelAtTarget(target: PostgresTarget, processId: number, secret: Buffer): Promise<void> {
  await sendCancel((await connectTarget(target)).socket, processId, secret)
}

/** Hands a CancelRequest to another proxy. False where that one does not take it: then the session that it was for is gone, too. */
export async function relayCancel(host: string, port: number, processId: number, secret: Buffer): Promise<boolean> {
  const socket = connectTcp({ host, port })
  const reached = settled(socket, 'connect', CONNECT_MS)
  return reached
    .then(() => sendCancel(socket, processId, secret))
    .then(
      () => true,
      () => false,
    )
}

async function sendCancel(socket: Socket, processId: number, secret: Buffer): Promise<void> {
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  socket.resume()
  socket.write(encodeCancel(processId, secret))
  await withTimeout(closed, CONNECT_MS).finally(() => socket.destroy())
}

function settled(socket: Socket, event: 'connect' | 'secureConnect', ms: number): Promise<void> {
  const promise = new Promise<void>((resolve, reject) => {
    const onError = (error: Error) => reject(error)
    const onClose = () => reject(new Error('the connection was closed'))
    socket.once('error', onError).once('close', onClose)
    socket.once(event, () => {
      socket.off('error', onError).off('close', onClose)
      resolve()
    })
  })
  return withTimeout(promise, ms)
}

async function withTimeout<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${ms / 1000} s`)), ms)
  })
  try {
    return await Promise.race([promise, timeout])
  } finally {
    clearTimeout(timer)
  }
}

const messageOf = (error: unknown): string =>
  error instanceof AggregateError ? error.errors.map(messageOf).join('; ') : error instanceof Error ? error.message : String(error)
