// With `results: Full`: what was answered, up to the cap. Values of Secrets and tokens are in no record, however they come.
import type { Asked } from './command.ts'
import type { Running } from './exchange.ts'

/** Bytes in one event: in base64 they fit in a line. */
const PIECE = 128 * 1024

/** Undefined where nothing of the answer is kept. */
export function keptAnswer(running: Running, { info }: Asked): KeptAnswer | undefined {
  const { results, outputCap } = running.session.access.config.recording
  // Tables and other views of Secrets have their values, too.
  const secret = info.resource === 'secrets' || info.subresource === 'token' || info.subresource === 'proxy' || info.resource === 'tokenreviews'
  return results === 'Summary' || secret ? undefined : new KeptAnswer(running, outputCap)
}

class KeptAnswer {
  readonly #running: Running
  readonly #cap: number
  readonly #chunks: Buffer[] = []
  #size = 0
  #capped = false

  constructor(running: Running, cap: number) {
    this.#running = running
    this.#cap = cap
  }

  add(chunk: Buffer): void {
    const room = this.#cap - this.#size
    if (chunk.length > room) this.#capped = true
    if (room <= 0) return
    const part = Buffer.from(chunk.subarray(0, room))
    this.#chunks.push(part)
    this.#size += part.length
  }

  /** As one text, so that what is redacted is found wherever chunks ended. */
  record(): void {
    const { session, command, elapsedMs } = this.#running
    const { record } = session
    if (record.ended || this.#size === 0) return
    const bytes = Buffer.from(record.redactor.redact(Buffer.concat(this.#chunks).toString('utf8')))
    for (let at = 0; at < bytes.length; at += PIECE) record.output(command, 'out', elapsedMs, bytes.subarray(at, at + PIECE))
    if (this.#capped) record.outputCapped(command)
  }
}
