// How long each object must be kept: Object Lock's date, by the access that it is of.
import type { AccessConfig } from '../config.ts'
import { accessKey } from '../config.ts'

/** Access → milliseconds; what has none is not locked. */
export type RetentionTable = [access: string, ms: number][]

export const retentionOf = (accesses: readonly AccessConfig[]): RetentionTable =>
  accesses.flatMap((access) => (access.recording.retentionMs === undefined ? [] : [[accessKey(access), access.recording.retentionMs]]))

export class Retention {
  readonly #byAccess: Map<string, number>

  constructor(table: RetentionTable) {
    this.#byAccess = new Map(table)
  }

  /** What is in force from now on. An access that is gone keeps what it had: its evidence may still wait. */
  update(table: RetentionTable): void {
    for (const [access, ms] of table) this.#byAccess.set(access, ms)
  }

  /** Undefined: not locked. Ledgers and keys are kept as long as the longest; the index can be made again. */
  until(key: string, access: string, now = Date.now()): Date | undefined {
    if (key.startsWith('index/')) return undefined
    const ms = this.#byAccess.get(access) ?? Math.max(0, ...this.#byAccess.values())
    return ms > 0 ? new Date(now + ms) : undefined
  }
}
