// Sends what waits to the collector, in order, at least once. https://opentelemetry.io/docs/specs/otlp/#otlphttp
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { ShipState } from '../ship-state.ts'
import { rejectedOf } from './encode.ts'

export interface OtlpOptions {
  /** Base URL; `/v1/traces` and `/v1/logs` are added. */
  endpoint: string
  headers?: Record<string, string>
  /** PEM, of the collector's CA; default: those that Node knows. */
  ca?: string
}

export type ExportReport =
  | { kind: 'exported'; count: number }
  | { kind: 'rejected'; count: number; message: string }
  | { kind: 'export failing'; message: string }
  | { kind: 'exporting' }

const TIMEOUT_MS = 10_000
const IDLE_MS = 500
const FIRST_BACKOFF_MS = 1000
const LAST_BACKOFF_MS = 30_000
/** "Retryable" in the specification; all else is rejected for good. */
const RETRYABLE = new Set([429, 502, 503, 504])
const MAX_ANSWER_BYTES = 64 * 1024

interface Answer {
  status: number
  retryAfterMs: number | undefined
  body: Buffer
}

export class Sender {
  readonly #state: ShipState
  readonly #options: OtlpOptions
  readonly #report: (report: ExportReport) => void
  readonly #stopping = new AbortController()
  #backoffMs = 0
  #sending = false

  constructor(state: ShipState, options: OtlpOptions, report: (report: ExportReport) => void) {
    this.#state = state
    this.#options = options
    this.#report = report
  }

  async run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const pause = (await this.#sendAll()) ?? IDLE_MS
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, pause)
        this.#stopping.signal.addEventListener('abort', () => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
    // Once more: what came last. What fails now is sent by the next proxy on this spool.
    await this.#sendAll()
  }

  stop(): void {
    this.#stopping.abort()
  }

  /** Until nothing waits; how long to wait before the next attempt, where one failed. */
  async #sendAll(): Promise<number | undefined> {
    for (let next = this.#state.nextExport(); next; next = this.#state.nextExport()) {
      const { ord, signal, body, count } = next
      const answer = await this.#post(`/v1/${signal}`, body).catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))))
      if (answer instanceof Error || RETRYABLE.has(answer.status)) return this.#failed(answer)
      this.#state.exported(ord)
      if (answer.status < 200 || answer.status > 299)
        this.#report({ kind: 'rejected', count, message: `HTTP ${answer.status}: ${answer.body.toString('utf8').slice(0, 500)}` })
      else {
        const rejected = rejectedOf(signal, answer.body)
        if (rejected.count > 0) this.#report({ kind: 'rejected', ...rejected })
        this.#report({ kind: 'exported', count: count - rejected.count })
      }
      if (this.#backoffMs > 0 || !this.#sending) this.#report({ kind: 'exporting' })
      this.#sending = true
      this.#backoffMs = 0
    }
    return undefined
  }

  #failed(answer: Answer | Error): number {
    const message = answer instanceof Error ? answer.message || String(answer) : `HTTP ${answer.status}: ${answer.body.toString('utf8').slice(0, 500)}`
    if (this.#backoffMs === 0) this.#report({ kind: 'export failing', message: `${this.#options.endpoint}: ${message}` })
    this.#sending = false
    this.#backoffMs = Math.min(LAST_BACKOFF_MS, Math.max(FIRST_BACKOFF_MS, this.#backoffMs * 2))
    const asked = answer instanceof Error ? undefined : answer.retryAfterMs
    return asked ?? this.#backoffMs * (0.5 + Math.random())
  }

  #post(path: string, body: Buffer): Promise<Answer> {
    const { endpoint, headers = {}, ca } = this.#options
    const url = new URL(endpoint.replace(/\/+$/, '') + path)
    return new Promise((resolve, reject) => {
      const options = {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip', 'content-length': body.length },
        timeout: TIMEOUT_MS,
        ...(ca === undefined ? {} : { ca }),
      }
      const sent = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length
          if (bytes <= MAX_ANSWER_BYTES) chunks.push(chunk)
        })
        response.on('error', reject)
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, retryAfterMs: retryAfter(response.headers['retry-after']), body: Buffer.concat(chunks) }),
        )
      })
      sent.on('timeout', () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)))
      sent.on('error', reject)
      sent.end(body)
    })
  }
}

/** Seconds, or a date (RFC 9110, 10.2.3); never longer than our own longest pause. */
function retryAfter(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) ? Math.min(LAST_BACKOFF_MS, Math.max(0, ms)) : undefined
}
