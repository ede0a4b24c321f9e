// replay: a session as it happened. What a command printed is printed again, a terminal's as a terminal shows it.
import { setTimeout as pause } from 'node:timers/promises'
import { TextDecoder } from 'node:util'
import { readEvents, type Event } from '@agentaccess/recording'
import { findSession, openEvidence } from '../evidence-option.ts'
import { printable } from '../printable.ts'
import { SafeTerminal } from '../terminal.ts'
import { line } from './show.ts'

export async function replay(session: string, options: { evidence?: string; speed: number }): Promise<void> {
  const store = await openEvidence(options.evidence)
  const location = await findSession(store, session)
  const began = performance.now()
  const screen = new Screen()
  let start: number | undefined
  for await (const { event } of readEvents(store, location)) {
    const time = Date.parse(event.time)
    start ??= time
    if (event.kind === 'checkpoint') continue
    const wait = (time - start) / options.speed - (performance.now() - began)
    if (wait > 1) await pause(wait)
    const printed = screen.take(event)
    if (printed === undefined) console.log(screen.freshLine() + line(event, start))
    else process.stdout.write(printed)
  }
}

/** What commands print, each as it looked. */
class Screen {
  /** By command, those with a terminal. */
  readonly #terminals = new Map<number, SafeTerminal>()
  readonly #decoders = new Map<string, TextDecoder>()
  #atLineStart = true

  /** What of an event stands on the screen itself; undefined where it is something to be told. */
  take(event: Event): string | undefined {
    if (event.kind === 'command' && event.attributes['agentaccess.kubernetes.stream.tty'] === 'true') this.#terminals.set(event.command, new SafeTerminal())
    if (event.kind !== 'output') return undefined
    // What was typed, a terminal shows itself; what was piped in, is nothing to look at.
    if (event.stream === 'in') return ''
    const bytes = Buffer.from(event.data, 'base64')
    const text = this.#terminals.get(event.command)?.show(bytes) ?? this.#plain(`${event.command} ${event.stream}`, bytes)
    if (text !== '') this.#atLineStart = text.endsWith('\n')
    return text
  }

  /** A line feed, where something stands in the line already. */
  freshLine(): string {
    const before = this.#atLineStart ? '' : '\n'
    this.#atLineStart = true
    return before
  }

  #plain(stream: string, bytes: Buffer): string {
    const decoder = this.#decoders.get(stream) ?? new TextDecoder('utf-8')
    this.#decoders.set(stream, decoder)
    return decoder
      .decode(bytes, { stream: true })
      .split('\n')
      .map((part) => printable(part, true))
      .join('\n')
  }
}
