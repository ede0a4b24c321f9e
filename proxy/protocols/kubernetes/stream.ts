// exec, attach and port-forward: after the upgrade, bytes pass as they came, once what they say is in the record.
import { ServerResponse, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { v4 as uuidv4 } from 'uuid'
import { admit, refusalOf, refuse, type ExchangeOptions, type Running } from './exchange.ts'
import { relay } from './relay.ts'
import { streamDecoder, upgradeHeaders, type StreamDecoder } from './stream-decoders.ts'
import { HOP_BY_HOP } from './upstream.ts'

/** Bytes that have been read and not passed on. */
const MAX_UNSENT = 1024 * 1024

type Answered = { response: IncomingMessage } | { upgraded: IncomingMessage; socket: Socket; head: Buffer }

/** Serves a request for an upgrade to its end. @throws Refused before it is a command */
export async function stream(request: IncomingMessage, client: Socket, head: Buffer, options: ExchangeOptions): Promise<void> {
  const { session, activity, upstream, asked, target, onBehalf } = options
  const upgrade = upgradeHeaders(request, asked.info)
  const response = new ServerResponse(request)
  response.assignSocket(client)
  response.shouldKeepAlive = false
  response.once('finish', () => client.end())
  let running: Running | undefined
  let sent: ReturnType<typeof upstream.request> | undefined
  // From then on the stream itself says how it ended.
  let streaming = false
  const done = activity.begin({
    abort: (why) => {
      running?.cut(why)
      sent?.destroy()
      client.destroy()
    },
  })
  client.once('close', () => {
    if (!streaming) running?.left()
  })
  try {
    const auditId = uuidv4()
    const begun = (one: Running) => (running = one)
    const command = await admit(options, Buffer.alloc(0), '', auditId, { begun, denied: (refusal) => refuse(response, refusal) })
    const ours = command.over ? {} : await upstream.headers(request.headers, auditId, onBehalf)
    // Denied; or the agent, or the session, has gone meanwhile, and the record says that it was not executed.
    if (command.over) return
    const { 'sec-websocket-extensions': _compression, ...plain } = ours
    const headers = { ...plain, ...upgrade }
    command.forwarded = true
    sent = upstream.request(asked.method, target, headers)
    sent.end()
    const answered = await answerOf(sent)
    if ('response' in answered) {
      await relay(answered.response, response, command, asked)
      return
    }
    const decoder = streamDecoder(answered.upgraded, asked, command)
    response.detachSocket(client)
    streaming = true
    client.write(headOf(answered.upgraded))
    await new Streaming(client, answered.socket, command, decoder).run(head, answered.head)
  } catch (error) {
    const refusal = refusalOf(error)
    running?.ends({
      status: running.forwarded ? 'outcome unknown' : 'not executed',
      attributes: { 'http.response.status_code': refusal.code, 'error.type': refusal.reason, 'agentaccess.error.message': refusal.message },
    })
    sent?.destroy()
    if (client.destroyed || response.headersSent || response.socket === null) client.destroy()
    else refuse(response, refusal)
  } finally {
    running?.left()
    done()
    if (session.record.ended) client.destroy()
  }
}

function answerOf(sent: ReturnType<ExchangeOptions['upstream']['request']>): Promise<Answered> {
  return new Promise((resolve, reject) => {
    sent.once('upgrade', (upgraded, socket, head) => resolve({ upgraded, socket, head }))
    sent.once('response', (response) => resolve({ response }))
    sent.once('error', reject)
  })
}

/** The answer's head as it came, without what an HTTP/1.1 connection that goes on would have. */
function headOf({ statusCode, statusMessage, rawHeaders }: IncomingMessage): string {
  let head = `HTTP/1.1 ${statusCode} ${statusMessage}\r\n`
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase()
    if (name === 'connection' || name === 'upgrade' || !HOP_BY_HOP.has(name)) head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`
  }
  return `${head}\r\n`
}

class Streaming {
  readonly #client: Socket
  readonly #target: Socket
  readonly #running: Running
  readonly #decoder: StreamDecoder
  readonly #finished: Promise<void>
  #finish: () => void = () => {}
  /** What of each direction is being read, where that takes its time. */
  readonly #turns = new Map<Socket, Promise<void>>()
  #over = false

  constructor(client: Socket, target: Socket, running: Running, decoder: StreamDecoder) {
    this.#client = client
    this.#target = target
    this.#running = running
    this.#decoder = decoder
    this.#finished = new Promise((resolve) => {
      this.#finish = resolve
    })
  }

  run(clientHead: Buffer, targetHead: Buffer): Promise<void> {
    const [client, target] = [this.#client, this.#target]
    target.setNoDelay(true)
    client.setTimeout(0)
    target.setTimeout(0)
    this.#pump(client, target, (chunk) => this.#decoder.client(chunk), clientHead)
    this.#pump(target, client, (chunk) => this.#decoder.target(chunk), targetHead)
    client.once('close', () => void this.#after(() => this.#end('the client closed the connection')))
    target.once('close', () => void this.#after(() => this.#end(undefined)))
    for (const socket of [client, target]) socket.on('error', () => {})
    // It went while the upgrade was under way, and says so no more.
    if (client.destroyed) this.#end('the client closed the connection')
    else if (target.destroyed) this.#end(undefined)
    return this.#finished
  }

  /** Runs `then` once all that has come has been read, and has gone. */
  async #after(then: () => void): Promise<void> {
    await Promise.all(this.#turns.values())
    this.#running.session.pass(then, then)
  }

  /** One chunk after another: what it says is recorded, then it goes. */
  #pump(from: Socket, to: Socket, read: (chunk: Buffer) => void | Promise<void>, first: Buffer): void {
    let unsent = 0
    const goOn = () => {
      if (unsent <= MAX_UNSENT && !to.writableNeedDrain) from.resume()
    }
    const pass = (chunk: Buffer) => {
      if (this.#over) return
      this.#running.session.pass(
        () => {
          unsent -= chunk.length
          if (this.#over) return
          if (!to.write(chunk)) from.pause()
          else if (from.isPaused()) goOn()
        },
        (why) => this.#end(`it can't be recorded any more: ${why}`),
      )
    }
    const take = (chunk: Buffer) => {
      // Neither a reading nor a disk that takes its time must gather what comes meanwhile.
      unsent += chunk.length
      if (unsent > MAX_UNSENT) from.pause()
      const before = this.#turns.get(from)
      const reading = before ? before.then(() => this.#read(chunk, read)) : this.#read(chunk, read)
      if (!reading) {
        pass(chunk)
        return
      }
      const turn = reading.then(() => {
        pass(chunk)
        if (this.#turns.get(from) === turn) this.#turns.delete(from)
      })
      this.#turns.set(from, turn)
    }
    if (first.length > 0) take(first)
    from.on('data', take)
    to.on('drain', goOn)
    from.once('end', () => void this.#after(() => to.end()))
  }

  /** At once, where the decoder is. What it can't read, or what can't be recorded, ends the stream. */
  #read(chunk: Buffer, read: (chunk: Buffer) => void | Promise<void>): Promise<void> | undefined {
    if (this.#over) return undefined
    const failed = (error: unknown) => this.#end(error instanceof Error ? error.message : String(error))
    try {
      const blocked = this.#running.session.blocked()
      if (blocked !== undefined) throw new Error(`it can't be recorded any more: ${blocked}`)
      return read(chunk)?.catch(failed)
    } catch (error) {
      failed(error)
      return undefined
    }
  }

  /** `why`: it was cut off; undefined where the target ended it. */
  #end(why: string | undefined): void {
    if (this.#over) return
    this.#over = true
    const { attributes, succeeded } = this.#decoder.result()
    const status = succeeded === undefined ? (this.#client.destroyed ? 'cancelled' : 'outcome unknown') : succeeded ? 'ok' : 'error'
    this.#running.ends({
      status,
      attributes: {
        'http.response.status_code': 101,
        ...attributes,
        ...(succeeded === undefined && why !== undefined ? { 'agentaccess.error.message': why } : {}),
      },
    })
    this.#running.session.pass(
      () => this.#close(),
      () => this.#close(),
    )
  }

  #close(): void {
    this.#client.destroySoon()
    this.#target.destroy()
    this.#finish()
  }
}
