// What did not become a session: one door session for each access, proxy and UTC day. Nobody fills the evidence by failing
// to log in: beyond ten a minute and source, refusals are counted and written as one.
import { timestamp } from '@agentaccess/recording'
import type { Recorder } from './recorder.ts'
import { Redactor } from './redactor.ts'
import type { Attributes, SessionRecord } from './session-record.ts'

const WINDOW_MS = 60_000
const SINGLE_PER_WINDOW = 10
const SOURCES_KEPT = 10_000

interface Source {
  windowEnds: number
  count: number
  suppressed: number
  first: number
  last: number
  attributes: Attributes
}

export class Door {
  readonly #recorder: Recorder
  readonly #access: string
  readonly #attributes: Attributes
  readonly #redactor: () => Redactor
  readonly #now: () => number
  readonly #sources = new Map<string, Source>()
  readonly #timer: NodeJS.Timeout
  #record: SessionRecord | undefined
  #day = ''

  constructor(recorder: Recorder, access: string, attributes: Attributes, redactor: () => Redactor = () => Redactor.none, now: () => number = Date.now) {
    this.#recorder = recorder
    this.#access = access
    this.#attributes = attributes
    this.#redactor = redactor
    this.#now = now
    this.#timer = setInterval(() => this.flush(), WINDOW_MS)
    this.#timer.unref()
  }

  refused(source: string, attributes: Attributes): void {
    const now = this.#now()
    let seen = this.#sources.get(source)
    if (!seen || now >= seen.windowEnds) {
      if (seen) this.#writeSuppressed(seen)
      else if (this.#sources.size >= SOURCES_KEPT) this.#makeRoom()
      // What could not be written stays counted.
      seen = { windowEnds: now + WINDOW_MS, count: 0, suppressed: seen?.suppressed ?? 0, first: seen?.first ?? now, last: now, attributes }
      this.#sources.set(source, seen)
    }
    seen.count++
    const record = seen.count <= SINGLE_PER_WINDOW ? this.#session(now) : undefined
    if (record) record.refused(1, undefined, attributes)
    else this.#suppress(seen, 1, now, attributes)
  }

  /** Counted, to be written when the minute is over, or when anything can be written again. */
  #suppress(seen: Source, count: number, now: number, attributes: Attributes): void {
    if (seen.suppressed === 0) seen.first = now
    seen.suppressed += count
    seen.last = now
    seen.attributes = attributes
  }

  /** So many sources while nothing can be written are counted as one. */
  #makeRoom(): void {
    this.flush(true)
    if (this.#sources.size < SOURCES_KEPT) return
    const now = this.#now()
    const all: Source = { windowEnds: now, count: SINGLE_PER_WINDOW, suppressed: 0, first: now, last: now, attributes: {} }
    for (const seen of this.#sources.values()) {
      const first = Math.min(all.first, seen.first)
      this.#suppress(all, seen.suppressed, now, { 'agentaccess.error.message': 'refused from many sources, while nothing could be recorded' })
      all.first = first
    }
    this.#sources.clear()
    this.#sources.set('', all)
  }

  /** A cancel request that aims at no session. */
  cancel(attributes: Attributes): void {
    this.#session(this.#now())?.cancel(undefined, attributes)
  }

  /** Writes the aggregates whose minute is over, or all. */
  flush(all = false): void {
    const now = this.#now()
    for (const [source, seen] of this.#sources) {
      if (!all && now < seen.windowEnds) continue
      this.#writeSuppressed(seen)
      if (seen.suppressed === 0) this.#sources.delete(source)
    }
    if (this.#record && dayOf(now) !== this.#day) this.#endSession('the day is over')
  }

  close(): void {
    clearInterval(this.#timer)
    this.flush(true)
    this.#endSession('the proxy stops')
  }

  #writeSuppressed(seen: Source): void {
    if (seen.suppressed === 0) return
    const record = this.#session(this.#now())
    if (!record) return
    record.refused(seen.suppressed, timestamp(seen.last), {
      ...seen.attributes,
      'agentaccess.first': timestamp(seen.first),
      'agentaccess.aggregated': true,
    })
    seen.suppressed = 0
  }

  #endSession(reason: string): void {
    this.#record?.end('proxy', reason)
    this.#record = undefined
  }

  /** The door session of today; undefined where nothing can be recorded: nothing was forwarded either. */
  #session(now: number): SessionRecord | undefined {
    if (this.#record && dayOf(now) !== this.#day) this.#endSession('the day is over')
    if (!this.#record) {
      if (this.#recorder.gate.blocked !== undefined) return undefined
      this.#day = dayOf(now)
      const { record, durable } = this.#recorder.openSession(
        this.#access,
        { ...this.#attributes, 'agentaccess.access': this.#access, 'agentaccess.door': true },
        this.#redactor,
      )
      durable.catch(() => {})
      this.#record = record
    }
    return this.#record
  }
}

const dayOf = (ms: number) => timestamp(ms).slice(0, 10)
