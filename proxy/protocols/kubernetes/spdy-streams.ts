// What the streams of a SPDY connection are for: `streamtype` says it, and for port-forwarding `port`.
// k8s.io/api/core/v1: StreamTypeStdin and its like.
import { CHANNEL, Channels } from './channels.ts'
import type { PortChannels } from './port-channels.ts'
import type { Side, StreamSink } from './spdy.ts'
import type { StreamDecoder } from './stream-decoders.ts'
import { StreamViolation } from './stream-violation.ts'

export type StreamKinds = Channels | PortChannels

const CHANNEL_OF: Record<string, number> = {
  stdin: CHANNEL.stdin,
  stdout: CHANNEL.stdout,
  stderr: CHANNEL.stderr,
  error: CHANNEL.error,
  resize: CHANNEL.resize,
}
const CLOSING_BRACE = 0x7d

export class SpdyStreams implements StreamSink {
  readonly #kinds: StreamKinds
  readonly #channels = new Map<number, number>()
  /** Port of each stream of data, and of each stream of errors: undefined. */
  readonly #ports = new Map<number, string | undefined>()
  #lastByte = 0

  constructor(kinds: StreamKinds) {
    this.#kinds = kinds
  }

  opened(stream: number, headers: ReadonlyMap<string, string>): void {
    const type = headers.get('streamtype') ?? ''
    if (this.#channels.has(stream) || this.#ports.has(stream)) throw new StreamViolation(`stream ${stream} is opened twice`)
    if (this.#kinds instanceof Channels) {
      const channel = CHANNEL_OF[type]
      if (channel === undefined) throw new StreamViolation(`a stream of type ${JSON.stringify(type)}`)
      this.#channels.set(stream, channel)
      return
    }
    const port = headers.get('port')
    if (port === undefined || (type !== 'data' && type !== 'error'))
      throw new StreamViolation(`a stream of type ${JSON.stringify(type)} to port ${port ?? '(none)'}`)
    if (type === 'data') this.#kinds.opened(port)
    this.#ports.set(stream, type === 'data' ? port : undefined)
  }

  data(stream: number, bytes: Buffer, from: Side): void {
    this.#lastByte = bytes.at(-1) ?? this.#lastByte
    if (this.#kinds instanceof Channels) this.#kinds.data(this.#channel(stream), bytes, from)
    else if (!this.#ports.has(stream)) throw new StreamViolation(`data of stream ${stream}, which is not open`)
    else if (this.#ports.get(stream) !== undefined) this.#kinds.moved(this.#ports.get(stream)!, bytes.length)
  }

  frameEnds(stream: number): void {
    // There are no messages in a stream: a terminal's size ends with its brace.
    if (this.#kinds instanceof Channels && this.#channels.get(stream) === CHANNEL.resize && this.#lastByte === CLOSING_BRACE)
      this.#kinds.messageEnds(CHANNEL.resize)
  }

  closes(stream: number, from: Side): void {
    if (!(this.#kinds instanceof Channels)) return
    const channel = this.#channels.get(stream)
    if (channel === CHANNEL.error) this.#kinds.messageEnds(channel)
    else if (channel === CHANNEL.stdin && from === 'client') this.#kinds.inputEnds()
  }

  #channel(stream: number): number {
    const channel = this.#channels.get(stream)
    if (channel === undefined) throw new StreamViolation(`data of stream ${stream}, which is not open`)
    return channel
  }

  result(): ReturnType<StreamDecoder['result']> {
    return this.#kinds.result()
  }
}
