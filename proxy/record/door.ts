// What did not become a session: one door session for each access, proxy and UTC day. Nobody fills the evidence by failing
// to log in: beyond ten a minute and source, refusals are counted and written as one.
import { timestamp } from '@agentaccess/recording'
import type { Recorder } from './recorder.ts'
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
  readonly #now: () => number
  readonly #sources = new Map<string, Source>()
  readonly #timer: NodeJS.Timeout
  #record: SessionRecord | undefined
  #day = ''

  constructor(recorder: Recorder, access: string, attributes: Attributes, now: () => number = Date.now) {
    this.#recorder = recorder
    this.#access = access
    this.#attributes = attributes
    this.#now = now
    this.#timer = setInterval(() => this.flush(), WINDOW_MS)
    this.#timer.unref()
  }

  refused(source: string, attributes: Attributes): void {
    const now = this.#now()
    let seen = this.#sources.get(source)
    if (!seen || now >= seen.windowEnds) {
      if (seen) this.#writeSuppressed(seen)
      if (this.#sources.size >= SOURCES_KEPT) this.flush(true)
      seen = { windowEnds: now + WINDOW_MS, count: 0, suppressed: 0, first: now, last: now, attributes }
      this.#sources.set(source, seen)
    }
    seen.count++
    if (seen.count <= SINGLE_PER_WINDOW) this.#session(now)?.refused(1, undefined, attributes)
    else {
      if (seen.suppressed++ === 0) seen.first = now
      seen.last = now
      seen.attributes = attributes
    }
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
      this.#sources.delete(source)
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
    this.#session(this.#now())?.refused(seen.suppressed, timestamp(seen.last), {
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
      const { record, durable } = this.#recorder.openSession(this.#access, {
        ...this.#attributes,
        'agentaccess.access': this.#access,
        'agentaccess.door': true,
      })
      durable.catch(() => {})
      this.#record = record
    }
    return this.#record
  }
}

const dayOf = (ms: number) => timestamp(ms).slice(0, 10)
