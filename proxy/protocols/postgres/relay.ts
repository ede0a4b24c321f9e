// One running session: bytes from agent to target and back, each through its stream, the record, and the gate.
import type { Socket } from 'node:net'
import type { Session } from '../../session.ts'
import type { EndedBy } from '../../record/session-record.ts'
import { ClientStream } from './client-stream.ts'
import { Pipeline } from './pipeline.ts'
import { SessionRefused } from './refusals.ts'
import { TargetStream } from './target-stream.ts'
import { errorResponse, message, ProtocolViolation, type PostgresError } from './wire.ts'

/** How long a target may still answer what an agent, that is gone, had asked for: the record wants the outcome. */
const LAST_ANSWERS_MS = 5000
const terminate = message('X')

/** One chunk in so many is timed. */
const MEASURED = 8

/** What is smaller is not worth the call. */
const LARGE_CHUNK = 8 * 1024

export interface RelayEnds {
  client: Socket
  target: Socket
  session: Session
  /** The role that the proxy has logged in as. */
  role: string
}

export class Relay {
  readonly #client: Socket
  readonly #target: Socket
  readonly #session: Session
  readonly #pipeline: Pipeline
  readonly #fromClient: ClientStream
  readonly #fromTarget: TargetStream
  readonly #done: Promise<void>
  #finish: () => void = () => {}
  #clientGone: string | undefined
  #ended = false
  #lastAnswers: NodeJS.Timeout | undefined
  #chunks = 0

  constructor({ client, target, session, role }: RelayEnds) {
    this.#client = client
    this.#target = target
    this.#session = session
    this.#pipeline = new Pipeline(session.record)
    this.#fromClient = new ClientStream(this.#pipeline, session, role)
    this.#fromTarget = new TargetStream(this.#pipeline, session)
    this.#done = new Promise((resolve) => {
      this.#finish = resolve
    })
  }

  /** Runs the session to its end. */
  run(): Promise<void> {
    const [client, target] = [this.#client, this.#target]
    this.#session.onEndRequested((by, why) => {
      if (this.#pipeline.farewell !== undefined) this.#targetLeft('')
      else if (this.#clientGone !== undefined) this.#endAfterClient()
      else this.#end(by, why, { severity: 'FATAL', sqlstate: '57P01', message: `terminating connection: ${why}` })
    })
    client.on('data', (chunk: Buffer) => this.#onClient(chunk))
    client.on('drain', () => target.resume())
    client.on('error', (error) => this.#clientLeft(error.message))
    client.on('end', () => this.#clientLeft('it closed the connection'))
    client.on('close', () => this.#clientLeft('it closed the connection'))
    target.on('data', (chunk: Buffer) => this.#onTarget(chunk))
    target.on('drain', () => this.#readOn())
    target.on('error', (error) => this.#targetLeft(error.message))
    target.on('end', () => this.#targetLeft('it closed the connection'))
    target.on('close', () => this.#targetLeft('it closed the connection'))
    return this.#done
  }

  #onClient(chunk: Buffer): void {
    if (this.#ended || this.#clientGone !== undefined) return
    const { measure } = this.#session.access
    const arrived = measure && this.#chunks++ % MEASURED === 0 ? performance.now() : undefined
    try {
      const { out, begun, terminated } = this.#fromClient.feed(chunk)
      // What is held may be looked at again, as it lies in the chunk.
      const mayFree = !this.#fromClient.held
      if (this.#fromClient.held) this.#hold()
      if (out.length > 0) {
        this.#session.pass(
          () => {
            // What had not gone when the session ended is in the record as not executed.
            if (this.#ended) return
            for (const run of begun) run.forwarded = true
            if (!forward(this.#target, out, mayFree ? chunk : undefined)) this.#client.pause()
            if (arrived !== undefined) measure!('added', this.#session.record.access, (performance.now() - arrived) / 1000)
          },
          (reason) => this.#cannotRecord(reason),
        )
      }
      if (terminated) this.#clientLeft(undefined)
    } catch (error) {
      this.#violated(error, 'client')
    }
  }

  /** A message waits for an answer or a decision: the client's bytes stay in its socket meanwhile. */
  #hold(): void {
    this.#client.pause()
    this.#fromClient.decision?.then(
      () => this.#readOn(),
      (error: unknown) => this.#violated(error, 'client'),
    )
  }

  /** Looks again at what was held, and reads on where nothing is held any more. */
  #readOn(): void {
    if (this.#ended) return
    if (this.#fromClient.held) this.#onClient(Buffer.alloc(0))
    if (!this.#fromClient.held && !this.#target.writableNeedDrain) this.#client.resume()
  }

  #onTarget(chunk: Buffer): void {
    if (this.#ended) return
    try {
      const out = this.#fromTarget.feed(chunk)
      if (this.#clientGone !== undefined) {
        if (this.#pipeline.idle) this.#endAfterClient()
        return
      }
      this.#session.pass(
        () => {
          if (!forward(this.#client, out, chunk)) this.#target.pause()
        },
        (reason) => this.#cannotRecord(reason),
      )
      if (this.#fromClient.held) this.#readOn()
    } catch (error) {
      this.#violated(error, 'target')
    }
  }

  #violated(error: unknown, by: 'client' | 'target'): void {
    if (error instanceof SessionRefused) {
      this.#end('policy', error.message, error.response)
      return
    }
    const why = error instanceof Error ? error.message : String(error)
    const known = error instanceof ProtocolViolation
    this.#end(by === 'client' ? 'proxy' : 'target', known ? `protocol violation: ${why}` : `internal error: ${why}`, {
      severity: 'FATAL',
      sqlstate: known ? '08P01' : 'XX000',
      message: known ? why : 'the proxy failed on this message, and ends the connection',
    })
  }

  #cannotRecord(reason: string): void {
    this.#end('proxy', reason, {
      severity: 'FATAL',
      sqlstate: '53100',
      message: `what crossed the connection can't be recorded, so the connection ends: ${reason}`,
    })
  }

  /** The agent is gone. What it had asked for may still be answered; then the target's connection ends. */
  #clientLeft(why: string | undefined): void {
    if (this.#ended || this.#clientGone !== undefined) return
    // It leaves because the target has said that it does.
    if (this.#pipeline.farewell !== undefined) {
      this.#targetLeft('')
      return
    }
    this.#clientGone = why ?? ''
    if (this.#pipeline.idle) this.#endAfterClient()
    else {
      this.#target.resume()
      this.#lastAnswers = setTimeout(() => this.#endAfterClient(), LAST_ANSWERS_MS)
    }
  }

  #endAfterClient(): void {
    this.#end('client', this.#clientGone === '' ? undefined : this.#clientGone)
  }

  #targetLeft(why: string): void {
    const { farewell } = this.#pipeline
    this.#end(
      'target',
      farewell ?? why,
      farewell === undefined ? { severity: 'FATAL', sqlstate: '08006', message: 'the target closed the connection' } : undefined,
    )
  }

  /** Ends both connections and the record. `response` is the client's last message. */
  #end(by: EndedBy, why: string | undefined, response?: PostgresError): void {
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#lastAnswers)
    this.#fromClient.abandon()
    this.#pipeline.abandon()
    this.#session.end(by, why)
    const close = () => {
      if (response && this.#clientGone === undefined) this.#client.write(errorResponse(response))
      this.#client.end()
      if (by === 'client' && this.#pipeline.idle) this.#target.end(terminate)
      else this.#target.destroy()
      // An agent that does not read must not keep the socket.
      setTimeout(() => this.#client.destroy(), 1000).unref()
      this.#finish()
    }
    // In order behind what already waits at the gate.
    this.#session.pass(close, close)
  }
}

/**
 * Writes what came of `chunk`, and gives the chunk's memory back as soon as it has gone (undefined: it is not to be): the collector
 * does so when it gets to it, and on a busy machine that is late. Nothing else keeps a view of a chunk of which a part goes on.
 * @returns whether there is room for more
 */
function forward(to: Socket, out: Buffer[], chunk: Buffer | undefined): boolean {
  let room = true
  const last = out.length - 1
  const free = chunk && chunk.length >= LARGE_CHUNK ? freeing(chunk, out) : undefined
  for (let i = 0; i <= last; i++) room = i === last && free ? to.write(out[i]!, free) : to.write(out[i]!)
  return room
}

function freeing(chunk: Buffer, out: Buffer[]): ((error?: Error | null) => void) | undefined {
  const { buffer } = chunk
  // A buffer of its own, not a piece of a pool.
  const own = buffer instanceof ArrayBuffer && buffer.byteLength === chunk.length && out.some((bytes) => bytes.buffer === buffer)
  return own ? (error) => void (error ?? buffer.transfer(0)) : undefined
}
