// Large statements are read in a thread of their own, one after the other, so that they hold up only who sent them. It is also
// where the parser may fail: a thread in which it has is not used again.
import { Worker } from 'node:worker_threads'
import { threadFile } from '../../../thread-file.ts'
import type { Redactor } from '../../../record/redactor.ts'
import { unreadable, type Analysis } from './facts.ts'
import type { LargeText, ReadingReport } from './reading-thread.ts'
import { speaksOfRoles } from './roles.ts'

export interface LargeReading {
  /** The text as it may be recorded; nothing of it where the thread died before it had that: then the analysis says so. */
  recorded: string
  analysis: Analysis
}

/** WebAssembly never gives memory back: a thread that has nothing to do ends. */
const IDLE_MS = 5000
const LONGEST_MS = 10_000
const MAX_HEAP_MB = 256

/** UTF-16 code units: what is longer has a lane of its own, since it takes seconds where others take milliseconds. */
const VERY_LARGE = 128 * 1024

/** Reads one text after the other, in a thread that it keeps for a while. */
class Lane {
  #last: Promise<unknown> = Promise.resolve()
  #idle: { thread: ReadingThread; timer: NodeJS.Timeout } | undefined

  read(large: LargeText): Promise<LargeReading> {
    const reading = this.#last.then(() => this.#readNow(large))
    this.#last = reading.catch(() => {})
    return reading
  }

  async #readNow(large: LargeText): Promise<LargeReading> {
    const thread = this.#take()
    const { recorded, result } = await thread.read(large)
    if (typeof result !== 'string' && recorded !== undefined) {
      if (!thread.ended) this.#keep(thread)
      return { recorded, analysis: result }
    }
    thread.end()
    return failed(large, recorded, typeof result === 'string' ? result : 'it was not searched for what is not to be recorded')
  }

  #take(): ReadingThread {
    const kept = this.#idle
    this.#idle = undefined
    clearTimeout(kept?.timer)
    return kept && !kept.thread.ended ? kept.thread : new ReadingThread()
  }

  /** For the next one, if it comes soon. */
  #keep(thread: ReadingThread): void {
    const timer = setTimeout(() => {
      this.#idle = undefined
      thread.end()
    }, IDLE_MS)
    timer.unref()
    this.#idle = { thread, timer }
  }
}

const [lane, slowLane] = [new Lane(), new Lane()]

/** Never rejects: what can't be read, is unreadable. */
export function readLarge(text: string, redactor: Redactor): Promise<LargeReading> {
  const large: LargeText = { text, patterns: redactor.patterns }
  return (text.length > VERY_LARGE ? slowLane : lane)
    .read(large)
    .catch((error: unknown) => failed(large, undefined, `no thread can read it: ${error instanceof Error ? error.message : String(error)}`))
}

/** Where nothing may be recorded of it, it is denied: to search it here would hold up everyone else. */
function failed({ text }: LargeText, recorded: string | undefined, why: string): LargeReading {
  const analysis = { ...unreadable(why), rolesChanged: speaksOfRoles(text) ? ['*'] : [] }
  return recorded === undefined ? { recorded: '[REDACTED]', analysis: { ...analysis, unrecordable: why } } : { recorded, analysis }
}

class ReadingThread {
  // What the parser prints of its own memory is nobody's business.
  readonly #worker = new Worker(threadFile('reading-thread', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    stdout: true,
    stderr: true,
  })
  #onReport: (report: ReadingReport) => void = () => {}
  #onEnd: (why: string) => void = () => {}
  ended = false

  constructor() {
    this.#worker.stdout.resume()
    this.#worker.stderr.resume()
    const ended = (why: string) => {
      this.ended = true
      this.#onEnd(why)
    }
    this.#worker
      .on('message', (report: ReadingReport) => this.#onReport(report))
      .on('error', (error: unknown) => ended(error instanceof Error ? `reading it failed: ${error.message}` : 'reading it takes more memory than it may'))
      .on('exit', () => ended('reading it ended the thread that does so'))
  }

  /** `result`: what it means, or why it can't be read. */
  async read(large: LargeText): Promise<{ recorded: string | undefined; result: Analysis | string }> {
    let recorded: string | undefined
    let timer: NodeJS.Timeout | undefined
    this.#worker.ref()
    const result = await new Promise<Analysis | string>((resolve) => {
      timer = setTimeout(() => resolve(`it takes longer than ${LONGEST_MS / 1000} s to read`), LONGEST_MS)
      this.#onEnd = resolve
      this.#onReport = (report) => {
        if (report.kind === 'recorded') recorded = report.text
        else {
          if (report.parserBroken) this.end()
          resolve(report.analysis)
        }
      }
      this.#worker.postMessage(large)
    })
    clearTimeout(timer)
    this.#worker.unref()
    return { recorded, result }
  }

  end(): void {
    this.ended = true
    void this.#worker.terminate()
  }
}
