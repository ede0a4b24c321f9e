// The sessions of one access. A session is not a connection: a protocol with many short connections opens by a key and
// finds the session that is already there.
import type { Access } from './protocol.ts'
import { Session, type SessionStart } from './session.ts'

export class Sessions {
  readonly #live = new Set<Session>()
  readonly #byKey = new Map<string, Promise<Session>>()
  readonly #onChange: () => void
  #lastOpened: Date | undefined

  constructor(onChange: () => void = () => {}) {
    this.#onChange = onChange
  }

  /** When the last session began. */
  get lastOpened(): Date | undefined {
    return this.#lastOpened
  }

  get size(): number {
    return this.#live.size
  }

  /**
   * Opens a session, or joins the one with the same key. Resolves once it may forward: its ledger entry and first line
   * are on the disk. @throws where it can't be recorded.
   */
  open(access: Access, start: SessionStart, key?: string): Promise<Session> {
    const joined = key === undefined ? undefined : this.#byKey.get(key)
    if (joined) return joined
    const opening = this.#open(access, start, key)
    if (key !== undefined) {
      this.#byKey.set(key, opening)
      opening.catch(() => this.#byKey.delete(key))
    }
    return opening
  }

  /** Whether there is one to join. */
  has(key: string): boolean {
    return this.#byKey.has(key)
  }

  async #open(access: Access, start: SessionStart, key: string | undefined): Promise<Session> {
    const session = new Session(access, start, () => {
      this.#live.delete(session)
      if (key !== undefined) this.#byKey.delete(key)
      this.#onChange()
    })
    this.#live.add(session)
    this.#lastOpened = new Date()
    this.#onChange()
    await session.durable
    return session
  }

  /** Those that run, for draining. */
  live(): Session[] {
    return [...this.#live]
  }
}
