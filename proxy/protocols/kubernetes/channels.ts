// The channels of exec and attach, over whatever carries them: what each says, as events.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#websockets, KEP-4006 (v5.channel.k8s.io)
import { CommandOutput } from '../../record/command-output.ts'
import type { Stream } from '../../record/session-record.ts'
import type { Running } from './exchange.ts'
import type { Side } from './spdy.ts'
import type { ChannelSink, StreamDecoder } from './stream-decoders.ts'
import { StreamViolation } from './stream-violation.ts'

export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const
const MAX_GATHERED = 64 * 1024

const STREAM_OF: Record<number, Stream> = { [CHANNEL.stdin]: 'in', [CHANNEL.stdout]: 'out', [CHANNEL.stderr]: 'err' }

const MAY_SEND: Record<Side, ReadonlySet<number>> = {
  client: new Set([CHANNEL.stdin, CHANNEL.resize, CHANNEL.close]),
  target: new Set([CHANNEL.stdout, CHANNEL.stderr, CHANNEL.error, CHANNEL.close]),
}

/** How a command in a container ended, as the error channel says. */
export interface Ended {
  exitCode?: number
  reason?: string
  message?: string
}

export class Channels implements ChannelSink {
  readonly #running: Running
  readonly #output: CommandOutput
  readonly #gathered = new Map<number, Buffer[]>()
  #ended: Ended | undefined

  /** `terminal`: what is said is what a person would have seen, and is recorded to its end. */
  constructor(running: Running, terminal: boolean) {
    const { session, command } = running
    this.#running = running
    this.#output = new CommandOutput(session.record, command, terminal ? undefined : session.access.config.recording.outputCap)
  }

  /** @throws StreamViolation */
  data(channel: number, bytes: Buffer, from: Side): void {
    // What a command says, only the target tells: else an agent could put it into the record.
    if (!MAY_SEND[from].has(channel)) throw new StreamViolation(`channel ${channel} is not the ${from}'s to send on`)
    const stream = STREAM_OF[channel]
    if (stream === undefined) this.#gather(channel, bytes)
    else this.#output.add(stream, this.#running.elapsedMs, bytes)
  }

  #gather(channel: number, bytes: Buffer): void {
    const chunks = this.#gathered.get(channel) ?? []
    chunks.push(bytes)
    if (chunks.reduce((sum, { length }) => sum + length, 0) > MAX_GATHERED) throw new StreamViolation(`channel ${channel} has more than ${MAX_GATHERED} bytes`)
    this.#gathered.set(channel, chunks)
  }

  /** A message of a channel is whole; or, of a stream, all that it will say. @throws StreamViolation */
  messageEnds(channel: number): void {
    const chunks = this.#gathered.get(channel)
    if (!chunks) return
    this.#gathered.delete(channel)
    const bytes = Buffer.concat(chunks)
    if (channel === CHANNEL.resize) this.#resized(bytes)
    else if (channel === CHANNEL.error && bytes.length > 0) this.#ended = endOf(bytes)
    else if (channel === CHANNEL.close && bytes[0] === CHANNEL.stdin) this.inputEnds()
  }

  /** Sizes may come one after another, where the carrier has no messages. */
  #resized(bytes: Buffer): void {
    for (const text of bytes.toString('utf8').match(/\{[^{}]*\}/g) ?? []) {
      const size = parsed(text) as { Width?: unknown; Height?: unknown } | undefined
      if (typeof size?.Width !== 'number' || typeof size.Height !== 'number') throw new StreamViolation('a terminal size that is none')
      this.#output.beside('in', this.#running.elapsedMs, { 'agentaccess.terminal.columns': size.Width, 'agentaccess.terminal.rows': size.Height })
    }
  }

  result(): ReturnType<StreamDecoder['result']> {
    const bytes = Object.fromEntries(
      Object.entries(this.#output.bytes).flatMap(([stream, count]) => (count > 0 ? [[`agentaccess.stream.${stream}.bytes`, count]] : [])),
    )
    if (!this.#ended) return { attributes: bytes, succeeded: undefined }
    const { exitCode, reason, message } = this.#ended
    return {
      attributes: {
        ...bytes,
        ...(exitCode === undefined ? {} : { 'agentaccess.kubernetes.exit_code': exitCode }),
        ...(reason === undefined ? {} : { 'error.type': reason }),
        ...(message === undefined ? {} : { 'agentaccess.error.message': message }),
      },
      succeeded: exitCode === 0,
    }
  }

  /** The agent sends no more input; the command may still say something. */
  inputEnds(): void {
    this.#output.beside('in', this.#running.elapsedMs, { 'agentaccess.stream.end': true })
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** A metav1.Status from v4 on; a text before. */
function endOf(bytes: Buffer): Ended {
  const text = bytes.toString('utf8')
  const status = parsed(text)
  if (typeof status !== 'object' || status === null || !('status' in status)) return { reason: 'Error', message: text }
  if (status.status === 'Success') return { exitCode: 0 }
  const { reason, message, details } = status as { reason?: string; message?: string; details?: { causes?: { reason?: string; message?: string }[] } }
  const code = details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message
  return {
    ...(code === undefined ? {} : { exitCode: Number(code) }),
    ...(reason === undefined ? {} : { reason }),
    ...(message === undefined ? {} : { message }),
  }
}
