// A session over many connections lasts while something is under way in it, and for a while after.
import type { EndedBy } from './record/session-record.ts'
import type { Session } from './session.ts'

/** Something under way. `abort`: the session ends now, and this with it. */
export interface UnderWay {
  abort(why: string): void
}

const activities = new WeakMap<Session, Activity>()

export class Activity {
  readonly #session: Session
  readonly #idleMs: number
  readonly #underWay = new Set<UnderWay>()
  #timer: NodeJS.Timeout | undefined
  #draining = false

  /** The one of a session; made where it is new. `idleMs`: how long a session lasts in which nothing is under way. */
  static of(session: Session, idleMs: number): Activity {
    let activity = activities.get(session)
    if (!activity) {
      activity = new Activity(session, idleMs)
      activities.set(session, activity)
    }
    return activity
  }

  private constructor(session: Session, idleMs: number) {
    this.#session = session
    this.#idleMs = idleMs
    session.onEndRequested((by, why) => this.#end(by, why))
    session.onDrain(() => {
      this.#draining = true
      if (this.#underWay.size === 0) session.end('client', 'nothing was under way when the proxy stopped')
    })
  }

  /** Returns what ends it. */
  begin(what: UnderWay): () => void {
    clearTimeout(this.#timer)
    this.#underWay.add(what)
    return () => {
      if (!this.#underWay.delete(what) || this.#underWay.size > 0 || this.#session.record.ended) return
      if (this.#draining) this.#session.end('client', 'its last request ended while the proxy stopped')
      else this.#timer = setTimeout(() => this.#session.end('client', `nothing for ${this.#idleMs / 1000} s`), this.#idleMs).unref()
    }
  }

  #end(by: EndedBy, why: string): void {
    clearTimeout(this.#timer)
    for (const one of this.#underWay) one.abort(why)
    this.#underWay.clear()
    this.#session.end(by, why)
  }
}
