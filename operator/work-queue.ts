// Keys to work on: each at most once at a time and once in the queue, again after a failure, later each time.
const FIRST_BACKOFF_MS = 250
const LAST_BACKOFF_MS = 60_000

export interface WorkQueueOptions {
  work: (key: string) => Promise<void>
  failed: (key: string, error: unknown) => void
  /** How many keys are worked on at once. */
  concurrency: number
}

export class WorkQueue {
  readonly #options: WorkQueueOptions
  readonly #waiting = new Set<string>()
  readonly #running = new Map<string, Promise<void>>()
  readonly #failures = new Map<string, number>()
  readonly #timers = new Map<string, NodeJS.Timeout>()
  #stopped = false

  constructor(options: WorkQueueOptions) {
    this.#options = options
  }

  get depth(): number {
    return this.#waiting.size
  }

  /** Work on this key soon. What comes while it is worked on, is worked on again afterwards. */
  add(key: string): void {
    if (this.#stopped) return
    this.#waiting.add(key)
    this.#next()
  }

  addAfter(key: string, ms: number): void {
    if (this.#stopped) return
    clearTimeout(this.#timers.get(key))
    const timer = setTimeout(() => {
      this.#timers.delete(key)
      this.add(key)
    }, ms)
    this.#timers.set(key, timer)
  }

  /** Nothing new begins; resolves when what runs has ended. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#waiting.clear()
    for (const timer of this.#timers.values()) clearTimeout(timer)
    await Promise.all(this.#running.values())
  }

  #next(): void {
    for (const key of this.#waiting) {
      if (this.#running.size >= this.#options.concurrency) return
      if (this.#running.has(key)) continue
      this.#waiting.delete(key)
      this.#running.set(key, this.#run(key))
    }
  }

  async #run(key: string): Promise<void> {
    try {
      await this.#options.work(key)
      this.#failures.delete(key)
    } catch (error) {
      const failures = (this.#failures.get(key) ?? 0) + 1
      this.#failures.set(key, failures)
      this.#options.failed(key, error)
      this.addAfter(key, Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (failures - 1)) * (0.5 + Math.random()))
    } finally {
      this.#running.delete(key)
      this.#next()
    }
  }
}
