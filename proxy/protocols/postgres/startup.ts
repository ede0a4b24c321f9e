// The first packets of a connection: what the client asks for before it says who it is.
// PostgreSQL documentation, 54.2.1 "Start-up", 54.2.9 "SSL Session Encryption", 54.7 StartupMessage, CancelRequest.
import { FieldReader, message, ProtocolViolation, REQUEST } from './wire.ts'

/** Longer than any start-up packet that PostgreSQL itself takes (MAX_STARTUP_PACKET_LENGTH). */
export const MAX_STARTUP_BYTES = 10_000

export interface StartupMessage {
  kind: 'startup'
  major: number
  minor: number
  user: string
  database: string
  /** All parameters but `user` and `database`, in their order. */
  parameters: Map<string, string>
  /** Protocol options (`_pq_.…`) that were asked for. */
  options: string[]
}

export type StartupPacket = { kind: 'ssl' } | { kind: 'gss' } | { kind: 'cancel'; processId: number; secret: Buffer } | StartupMessage

/** Decodes a packet: length (4), code (4), data. `bytes` is the whole packet. @throws ProtocolViolation */
export function decodeStartup(bytes: Buffer): StartupPacket {
  const request = bytes.readUInt32BE(4)
  switch (request) {
    case REQUEST.ssl:
    case REQUEST.gssEncryption:
      if (bytes.length !== 8) throw new ProtocolViolation('malformed encryption request')
      return { kind: request === REQUEST.ssl ? 'ssl' : 'gss' }
    case REQUEST.cancel:
      // 3.2 has secrets of up to 256 bytes.
      if (bytes.length < 16 || bytes.length > 268) throw new ProtocolViolation('malformed CancelRequest')
      return { kind: 'cancel', processId: bytes.readUInt32BE(8), secret: bytes.subarray(12) }
    default:
      return decodeStartupMessage(bytes, request >>> 16, request & 0xffff)
  }
}

function decodeStartupMessage(bytes: Buffer, major: number, minor: number): StartupMessage {
  const startup: StartupMessage = { kind: 'startup', major, minor, user: '', database: '', parameters: new Map(), options: [] }
  // Another major version may have another layout: its refusal does not depend on it.
  if (major !== 3) return startup
  const fields = new FieldReader(bytes, 8, bytes.length)
  for (let name = fields.cstring(); name !== ''; name = fields.cstring()) {
    const value = fields.cstring()
    if (name === 'user') startup.user = value
    else if (name === 'database') startup.database = value
    else if (name.startsWith('_pq_.')) startup.options.push(name)
    else startup.parameters.set(name, value)
  }
  fields.done()
  if (startup.user === '') throw new ProtocolViolation('no PostgreSQL user name specified in startup packet')
  if (startup.database === '') startup.database = startup.user
  return startup
}

/** StartupMessage (F), protocol 3.0. */
export function encodeStartup(user: string, database: string, parameters: ReadonlyMap<string, string>): Buffer {
  const pairs = [['user', user], ['database', database], ...parameters]
  const body = Buffer.from(`${pairs.map(([name, value]) => `${name}\0${value}\0`).join('')}\0`)
  const packet = Buffer.allocUnsafe(8 + body.length)
  packet.writeUInt32BE(packet.length, 0)
  packet.writeUInt32BE(3 << 16, 4)
  body.copy(packet, 8)
  return packet
}

/** CancelRequest (F). */
export function encodeCancel(processId: number, secret: Buffer): Buffer {
  const packet = Buffer.allocUnsafe(12 + secret.length)
  packet.writeUInt32BE(packet.length, 0)
  packet.writeUInt32BE(REQUEST.cancel, 4)
  packet.writeUInt32BE(processId, 8)
  secret.copy(packet, 12)
  return packet
}

export function encodeSslRequest(): Buffer {
  const packet = Buffer.allocUnsafe(8)
  packet.writeUInt32BE(8, 0)
  packet.writeUInt32BE(REQUEST.ssl, 4)
  return packet
}

/** NegotiateProtocolVersion (B): 3.0 is what is spoken, and these options are not known. */
export function negotiateProtocolVersion(options: readonly string[]): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(3 << 16, 0)
  head.writeUInt32BE(options.length, 4)
  return message('v', Buffer.concat([head, ...options.map((name) => Buffer.from(`${name}\0`))]))
}

/** Whether the client asks for a replication connection (postgres.c, parse_bool and "database"). */
export function wantsReplication(parameters: ReadonlyMap<string, string>): boolean {
  const value = parameters.get('replication')?.toLowerCase()
  return value !== undefined && !['', 'false', 'off', 'no', '0', 'f', 'n', 'of'].includes(value)
}

/** The task that start-up claims: `agentaccess.task`, or an application_name of `task:…`. */
export function claimedTask(parameters: ReadonlyMap<string, string>): { task: string; source: string } | undefined {
  const own = parameters.get(TASK_PARAMETER)
  if (own) return { task: own, source: TASK_PARAMETER }
  return taskOfApplicationName(parameters.get('application_name') ?? '')
}

export const TASK_PARAMETER = 'agentaccess.task'
/** The agent's own trace. */
export const TRACEPARENT_PARAMETER = 'agentaccess.traceparent'

export function taskOfApplicationName(name: string): { task: string; source: string } | undefined {
  return name.startsWith('task:') && name.length > 'task:'.length ? { task: name.slice('task:'.length), source: 'application_name' } : undefined
}
