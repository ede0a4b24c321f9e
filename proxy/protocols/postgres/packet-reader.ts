// Reads whole packets while a connection is being set up. The relay, which must not wait for whole messages, has its own reader.
import type { Duplex } from 'node:stream'
import { HEADER, ProtocolViolation } from './wire.ts'

/** The other side went away. */
export class ConnectionEnded extends Error {
  override readonly name = 'ConnectionEnded'
}

export class PacketReader {
  readonly #socket: Duplex

  /** The socket must not be flowing: what is not read here stays in it for the next reader. */
  constructor(socket: Duplex) {
    this.#socket = socket
  }

  async exactly(bytes: number): Promise<Buffer> {
    for (;;) {
      const chunk = this.#socket.read(bytes) as Buffer | null
      // At the end of the stream `read` gives what is left.
      if (chunk?.length === bytes) return chunk
      if (chunk !== null || this.#socket.readableEnded || this.#socket.destroyed) throw new ConnectionEnded('the connection ended')
      await this.#more()
    }
  }

  #more(): Promise<void> {
    const socket = this.#socket
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        socket.off('readable', onReadable).off('end', onEnd).off('close', onEnd).off('error', onEnd)
        if (error) reject(error)
        else resolve()
      }
      const onReadable = () => settle()
      const onEnd = (error?: Error) => settle(new ConnectionEnded(error?.message ?? 'the connection ended'))
      socket.on('readable', onReadable).on('end', onEnd).on('close', onEnd).on('error', onEnd)
    })
  }

  /** A packet without a type: length (4), itself included, and the rest. @throws ProtocolViolation */
  async startup(maxBytes: number): Promise<Buffer> {
    const head = await this.exactly(4)
    const length = head.readUInt32BE(0)
    if (length < 8 || length > maxBytes) throw new ProtocolViolation('invalid length of startup packet')
    return Buffer.concat([head, await this.exactly(length - 4)])
  }

  /** One message, whole. @throws ProtocolViolation where it is longer than `maxBytes`. */
  async message(maxBytes: number): Promise<{ type: string; body: Buffer; raw: Buffer }> {
    const head = await this.exactly(HEADER)
    const length = head.readUInt32BE(1)
    if (length < 4 || length > maxBytes) throw new ProtocolViolation('invalid message length')
    const raw = length === 4 ? head : Buffer.concat([head, await this.exactly(length - 4)])
    return { type: String.fromCharCode(head[0]!), body: raw.subarray(HEADER), raw }
  }
}
