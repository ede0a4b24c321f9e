// Port-forwarding: bytes and connections of each port. What is in them is another protocol's.
import type { ChannelSink, StreamDecoder } from './stream-decoders.ts'
import { StreamViolation } from './stream-violation.ts'

interface PortCount {
  connections: number
  bytes: number
}

export class PortChannels implements ChannelSink {
  readonly #asked: readonly string[]
  readonly #ports = new Map<string, PortCount>()
  /** Channels of which the first message, the port's own number, has been seen. */
  readonly #named = new Set<string>()

  /** `asked`: the ports in the query, in order: over WebSocket channels, two for each, data and errors. */
  constructor(asked: readonly string[]) {
    this.#asked = asked.flatMap((ports) => ports.split(','))
  }

  /** A connection to a port of the pod. */
  opened(port: string): void {
    this.#count(port).connections++
  }

  moved(port: string, bytes: number): void {
    this.#count(port).bytes += bytes
  }

  data(channel: number, bytes: Buffer): void {
    const port = this.#asked[channel >> 1]
    if (port === undefined) throw new StreamViolation(`there is no channel ${channel}: ${this.#asked.length} ports were asked for`)
    if ((channel & 1) === 0) this.moved(port, bytes.length)
  }

  messageEnds(channel: number): void {
    const port = this.#asked[channel >> 1]
    if (port === undefined || (channel & 1) === 1 || this.#named.has(port)) return
    this.#named.add(port)
    const count = this.#count(port)
    count.connections++
    count.bytes = Math.max(0, count.bytes - 2)
  }

  #count(port: string): PortCount {
    let count = this.#ports.get(port)
    if (!count) {
      count = { connections: 0, bytes: 0 }
      this.#ports.set(port, count)
    }
    return count
  }

  result(): ReturnType<StreamDecoder['result']> {
    return { attributes: { 'agentaccess.kubernetes.ports': Object.fromEntries(this.#ports) }, succeeded: true }
  }
}
