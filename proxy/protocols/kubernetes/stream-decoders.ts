// What each protocol of a stream says, read from a view of both directions.
import type { IncomingMessage } from 'node:http'
import { Channels } from './channels.ts'
import type { Asked } from './command.ts'
import type { Running } from './exchange.ts'
import { PortChannels } from './port-channels.ts'
import { commandVerb, isTrue, type RequestInfo } from './request-info.ts'
import { SpdyDecoder, type Side } from './spdy.ts'
import { SpdyStreams } from './spdy-streams.ts'
import { Refused } from './status.ts'
import { WebSocketReader, type MessageReader } from './websocket.ts'

export interface StreamDecoder {
  /** Each takes a chunk as it came. @throws StreamViolation, or rejects with one */
  client(chunk: Buffer): void | Promise<void>
  target(chunk: Buffer): void | Promise<void>
  /** Event attributes of all that was read, and how the command ended where that was said. */
  result(): { attributes: Record<string, unknown>; succeeded: boolean | undefined }
}

/** Protocols over WebSocket that are read here, the best first. */
const CHANNELS = ['v5.channel.k8s.io', 'v4.channel.k8s.io']
const TUNNEL = 'SPDY/3.1+portforward.k8s.io'
const SPDY_VERSIONS: ReadonlySet<string> = new Set(['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'portforward.k8s.io'])

/** What of a request's headers asks for a stream, and nothing that could not be read. @throws Refused */
export function upgradeHeaders(request: IncomingMessage, info: RequestInfo): Record<string, string | string[]> {
  const { headers } = request
  const verb = commandVerb(info)
  const unreadable = (what: string) => new Refused({ code: 501, reason: 'NotImplemented', message: `${what} can't be read here, so it is not let through` })
  if (verb !== 'exec' && verb !== 'attach' && verb !== 'portforward') throw unreadable(`an upgraded connection of ${verb}`)
  if (Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined)
    throw new Refused({ code: 400, reason: 'BadRequest', message: 'a request for an upgrade has no body' })
  const upgrade = headers.upgrade?.toLowerCase()
  if (upgrade === 'spdy/3.1') {
    const versions = listed(headers['x-stream-protocol-version']).filter((version) => SPDY_VERSIONS.has(version))
    if (versions.length === 0) throw unreadable('a stream without a version that is known')
    return { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': versions }
  }
  if (upgrade !== 'websocket') throw unreadable(`the protocol ${headers.upgrade ?? ''}`)
  const readable = verb === 'portforward' ? [TUNNEL, 'v4.channel.k8s.io'] : CHANNELS
  const protocols = listed(headers['sec-websocket-protocol']).filter((protocol) => readable.includes(protocol))
  if (protocols.length === 0) throw unreadable('a WebSocket without a protocol that is known')
  return {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-protocol': protocols.join(', '),
    ...Object.fromEntries(['sec-websocket-key', 'sec-websocket-version'].flatMap((name) => (typeof headers[name] === 'string' ? [[name, headers[name]]] : []))),
  }
}

const listed = (value: string | string[] | undefined): string[] =>
  (Array.isArray(value) ? value.join(',') : (value ?? '')).split(',').map((item) => item.trim())

/** For what the API server has chosen. @throws Refused where that was not offered */
export function streamDecoder(answer: IncomingMessage, { info, query }: Asked, running: Running): StreamDecoder {
  const { headers } = answer
  const forwards = commandVerb(info) === 'portforward'
  const kinds = () => (forwards ? new PortChannels(query.getAll('ports')) : new Channels(running, isTrue(query.get('tty'))))
  if (headers.upgrade?.toLowerCase() === 'spdy/3.1') return new SpdyDecoder(new SpdyStreams(kinds()))
  const chosen = headers['sec-websocket-protocol']
  if (forwards && chosen === TUNNEL) return new TunnelDecoder(new SpdyDecoder(new SpdyStreams(kinds())))
  if (chosen !== undefined && CHANNELS.includes(chosen)) return new ChannelDecoder(kinds())
  throw new Refused({ code: 502, reason: 'BadGateway', message: `the API server has chosen the stream protocol ${chosen ?? '(none)'}, which was not offered` })
}

/** Messages whose first byte says of which channel they are. */
export interface ChannelSink {
  data(channel: number, bytes: Buffer, from: Side): void
  messageEnds(channel: number): void
  result(): ReturnType<StreamDecoder['result']>
}

export class ChannelDecoder implements StreamDecoder {
  readonly #sink: ChannelSink
  readonly #client: WebSocketReader
  readonly #target: WebSocketReader

  constructor(sink: ChannelSink) {
    this.#sink = sink
    this.#client = new WebSocketReader(new ChannelMessages(sink, 'client'), true)
    this.#target = new WebSocketReader(new ChannelMessages(sink, 'target'), false)
  }

  client(chunk: Buffer): void {
    this.#client.add(chunk)
  }

  target(chunk: Buffer): void {
    this.#target.add(chunk)
  }

  result(): ReturnType<StreamDecoder['result']> {
    return this.#sink.result()
  }
}

class ChannelMessages implements MessageReader {
  readonly #sink: ChannelSink
  readonly #from: Side
  #channel = 0

  constructor(sink: ChannelSink, from: Side) {
    this.#sink = sink
    this.#from = from
  }

  payload(bytes: Buffer, first: boolean): void {
    if (first) this.#channel = bytes[0]!
    const data = first ? bytes.subarray(1) : bytes
    if (data.length > 0) this.#sink.data(this.#channel, data, this.#from)
  }

  messageEnds(): void {
    this.#sink.messageEnds(this.#channel)
  }

  closes(): void {}
}

/** SPDY in the binary messages of a WebSocket (KEP-4006): where messages begin and end means nothing. */
class TunnelDecoder implements StreamDecoder {
  readonly #inner: SpdyDecoder
  #chunks: Buffer[] = []
  readonly #client: WebSocketReader
  readonly #target: WebSocketReader

  constructor(inner: SpdyDecoder) {
    this.#inner = inner
    const gather: MessageReader = { payload: (bytes) => void this.#chunks.push(Buffer.from(bytes)), messageEnds: () => {}, closes: () => {} }
    this.#client = new WebSocketReader(gather, true)
    this.#target = new WebSocketReader(gather, false)
  }

  async client(chunk: Buffer): Promise<void> {
    this.#client.add(chunk)
    await this.#inner.client(this.#taken())
  }

  async target(chunk: Buffer): Promise<void> {
    this.#target.add(chunk)
    await this.#inner.target(this.#taken())
  }

  #taken(): Buffer {
    const bytes = Buffer.concat(this.#chunks)
    this.#chunks = []
    return bytes
  }

  result(): ReturnType<StreamDecoder['result']> {
    return this.#inner.result()
  }
}
