// A client that sends exactly the bytes it is told to, and keeps exactly those it gets.
import { connect, type Socket } from 'node:net'

const frame = (type: string, body: Buffer): Buffer => {
  const out = Buffer.alloc(5 + body.length)
  out.write(type, 0, 'latin1')
  out.writeUInt32BE(4 + body.length, 1)
  body.copy(out, 5)
  return out
}

const z = (...values: string[]) => Buffer.concat(values.map((value) => Buffer.from(`${value}\0`)))
const int16 = (...values: number[]) => {
  const out = Buffer.alloc(2 * values.length)
  for (const [i, value] of values.entries()) out.writeUInt16BE(value, 2 * i)
  return out
}
const int32 = (...values: number[]) => {
  const out = Buffer.alloc(4 * values.length)
  for (const [i, value] of values.entries()) out.writeInt32BE(value, 4 * i)
  return out
}

/** Messages of the frontend, by name. */
export const build = {
  query: (sql: string) => frame('Q', z(sql)),
  parse: (name: string, sql: string, types: number[] = []) => frame('P', Buffer.concat([z(name, sql), int16(types.length), int32(...types)])),
  bind: (portal: string, statement: string, values: (string | Buffer | null)[] = [], format = 0) =>
    frame(
      'B',
      Buffer.concat([
        z(portal, statement),
        int16(1, format),
        int16(values.length),
        ...values.flatMap((value) => (value === null ? [int32(-1)] : [int32(Buffer.byteLength(value)), Buffer.from(value)])),
        int16(0),
      ]),
    ),
  describe: (kind: 'S' | 'P', name: string) => frame('D', Buffer.concat([Buffer.from(kind), z(name)])),
  execute: (portal: string, maxRows = 0) => frame('E', Buffer.concat([z(portal), int32(maxRows)])),
  close: (kind: 'S' | 'P', name: string) => frame('C', Buffer.concat([Buffer.from(kind), z(name)])),
  functionCall: (oid: number, ...values: string[]) =>
    frame(
      'F',
      Buffer.concat([
        int32(oid),
        int16(0),
        int16(values.length),
        ...values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]),
        int16(0),
      ]),
    ),
  copyData: (data: string | Buffer) => frame('d', Buffer.from(data)),
  copyDone: () => frame('c', Buffer.alloc(0)),
  copyFail: (reason: string) => frame('f', z(reason)),
  sync: () => frame('S', Buffer.alloc(0)),
  flush: () => frame('H', Buffer.alloc(0)),
  terminate: () => frame('X', Buffer.alloc(0)),
  password: (password: string) => frame('p', z(password)),
  raw: frame,
  startup: (parameters: Record<string, string>, version = 3 << 16) => {
    const body = Buffer.concat([int32(version), z(...Object.entries(parameters).flat()), Buffer.from([0])])
    return Buffer.concat([int32(4 + body.length), body])
  },
}

export interface Received {
  type: string
  body: Buffer
}

/** Splits bytes into messages; a cut one at the end is left out. */
export function messages(bytes: Buffer): Received[] {
  const out: Received[] = []
  for (let at = 0; at + 5 <= bytes.length;) {
    const end = at + 1 + bytes.readUInt32BE(at + 1)
    if (end > bytes.length) break
    out.push({ type: String.fromCharCode(bytes[at]!), body: bytes.subarray(at + 5, end) })
    at = end
  }
  return out
}

export const types = (bytes: Buffer): string =>
  messages(bytes)
    .map(({ type }) => type)
    .join('')

export const errorCode = (body: Buffer): string => /(?:^|\0)C([0-9A-Z]{5})\0/.exec(body.toString('latin1'))?.[1] ?? ''

export class WireClient {
  readonly socket: Socket
  /** All bytes since the connection became ready, or since `take`. */
  #received: Buffer[] = []
  closed = false
  #waiting: (() => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk)
      this.#waiting?.()
    })
    const closed = () => {
      this.closed = true
      this.#waiting?.()
    }
    socket.on('close', closed).on('error', closed)
  }

  /** Connects as a user that is no agent's name, with a clear-text password. */
  static async connect(
    port: number,
    options: { user?: string; password: string; database?: string; parameters?: Record<string, string> },
  ): Promise<WireClient> {
    const client = await WireClient.open(port)
    client.send(build.startup({ user: options.user ?? 'someone', database: options.database ?? 'orders', ...options.parameters }))
    await client.until((bytes) => /[RE]/.test(types(bytes)))
    client.send(build.password(options.password))
    await client.until((bytes) => /[ZE]/.test(types(bytes).slice(1)))
    const greeting = client.take()
    if (types(greeting).includes('E'))
      throw new Error(
        `refused: ${messages(greeting)
          .find(({ type }) => type === 'E')!
          .body.toString()}`,
      )
    return client
  }

  static async open(port: number): Promise<WireClient> {
    const socket = connect({ host: '127.0.0.1', port })
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('error', reject)
    })
    return new WireClient(socket)
  }

  send(...parts: Buffer[]): void {
    this.socket.write(Buffer.concat(parts))
  }

  peek(): Buffer {
    const all = Buffer.concat(this.#received)
    this.#received = [all]
    return all
  }

  take(): Buffer {
    const all = this.peek()
    this.#received = []
    return all
  }

  /** Waits until what has come satisfies `enough`, or the connection is closed. @throws after 20 s */
  async until(enough: (bytes: Buffer) => boolean): Promise<Buffer> {
    const deadline = Date.now() + 20_000
    while (!enough(this.peek()) && !this.closed) {
      if (Date.now() > deadline) throw new Error(`nothing more came in 20 s; so far ${types(this.peek())}`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000)
        this.#waiting = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#waiting = undefined
    }
    return this.peek()
  }

  /** Waits for so many ReadyForQuery, and takes all that came. */
  async ready(count = 1): Promise<Buffer> {
    await this.until((bytes) => types(bytes).split('Z').length > count)
    return this.take()
  }

  /** Sends and takes the whole answer, up to so many ReadyForQuery. */
  async ask(request: Buffer | Buffer[], count = 1): Promise<Buffer> {
    this.send(...(Array.isArray(request) ? request : [request]))
    return this.ready(count)
  }

  async end(): Promise<void> {
    if (this.closed) return
    this.send(build.terminate())
    await this.until(() => false)
  }
}
