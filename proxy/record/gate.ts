// What is forwarded waits here until what was recorded of it is in the log. Everything that one turn of the event loop
// read goes out in one write, then the chunks are released in the order in which they came.
import type { Spool } from './spool.ts'

export type Durability = 'Written' | 'Synced'

interface Waiting {
  release: () => void
  /** Called instead of `release` where the log could not be written. */
  fail: (reason: string) => void
  synced: boolean
}

const RETRY_MS = 200
const SLOW_SYNC_MS = 5000

export class Gate {
  readonly #spool: Spool
  #queue: Waiting[] = []
  #awaitingSync: Waiting[] = []
  #syncStarted = 0
  #scheduled = false
  #failure: string | undefined
  #retry: NodeJS.Timeout | undefined

  constructor(spool: Spool) {
    this.#spool = spool
  }

  /** Why nothing can be recorded now; undefined where it can. */
  get blocked(): string | undefined {
    if (this.#failure !== undefined) return this.#failure
    if (this.#syncStarted !== 0 && Date.now() - this.#syncStarted > SLOW_SYNC_MS) return 'the disk under the spool does not answer'
    return undefined
  }

  /** Runs `release` once every line appended before this call is in the log (`Synced`: on the disk). */
  pass(durability: Durability, release: () => void, fail: (reason: string) => void): void {
    this.#queue.push({ release, fail, synced: durability === 'Synced' })
    this.schedule()
  }

  /** Sees to it that what was appended is written at the end of this turn. */
  schedule(): void {
    if (this.#scheduled || this.#failure !== undefined) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }

  flush(): void {
    const waiting = this.#queue
    this.#queue = []
    try {
      if (this.#spool.pending > 0) this.#spool.write()
    } catch (error) {
      this.#fail(waiting, error)
      return
    }
    this.#failure = undefined
    for (const one of waiting) {
      if (one.synced) this.#awaitingSync.push(one)
      else one.release()
    }
    if (this.#awaitingSync.length > 0 && this.#syncStarted === 0) this.#sync()
  }

  #sync(): void {
    const waiting = this.#awaitingSync
    this.#awaitingSync = []
    this.#syncStarted = Date.now()
    this.#spool.sync((error) => {
      this.#syncStarted = 0
      if (error) this.#fail(waiting, error)
      else for (const one of waiting) one.release()
      if (this.#awaitingSync.length > 0) this.#sync()
    })
  }

  #fail(waiting: Waiting[], error: unknown): void {
    this.#failure = `the spool can't be written: ${error instanceof Error ? error.message : String(error)}`
    for (const one of waiting) one.fail(this.#failure)
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined
      this.flush()
    }, RETRY_MS)
  }

  close(): void {
    clearTimeout(this.#retry)
  }
}
