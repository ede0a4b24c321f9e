// Bulk data of a COPY: rows, bytes and SHA-256 of the CopyData payloads, one after another, as a file of them would hash.
import { createHash } from 'node:crypto'
import type { DataDigest } from '../../record/session-record.ts'

const GATHER_BYTES = 64 * 1024

export class CopyDigest {
  readonly direction: 'in' | 'out'
  readonly #hash = createHash('sha256')
  // A row is short, and a call of `update` dear: short pieces are gathered first.
  readonly #gathered = Buffer.allocUnsafeSlow(GATHER_BYTES)
  #filled = 0
  #bytes = 0
  rows: number | undefined

  constructor(direction: 'in' | 'out') {
    this.direction = direction
  }

  add(chunk: Buffer, start: number, end: number): void {
    const length = end - start
    this.#bytes += length
    if (this.#filled + length > GATHER_BYTES) this.#flush()
    if (length > GATHER_BYTES / 4) {
      this.#flush()
      this.#hash.update(chunk.subarray(start, end))
      return
    }
    chunk.copy(this.#gathered, this.#filled, start, end)
    this.#filled += length
  }

  /** So far: the digest goes on. */
  digest(): DataDigest {
    this.#flush()
    return { direction: this.direction, ...(this.rows === undefined ? {} : { rows: this.rows }), bytes: this.#bytes, sha256: this.#hash.copy().digest('hex') }
  }

  #flush(): void {
    if (this.#filled > 0) this.#hash.update(this.#gathered.subarray(0, this.#filled))
    this.#filled = 0
  }
}
