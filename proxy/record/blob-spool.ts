// What is too large for a line: a file in the spool, written before the line that names it.
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { sha256Hex } from '@agentaccess/recording'

/** Longest JSON of one line's attributes, in UTF-16 units: three bytes each still fit a line. */
export const JSON_STRING_LIMIT = 64 * 1024

export class BlobSpool {
  readonly #folder: string
  readonly #stored: (session: string, bytes: number) => void

  constructor(spoolFolder: string, stored: (session: string, bytes: number) => void = () => {}) {
    this.#folder = join(spoolFolder, 'blobs')
    this.#stored = stored
  }

  /** Stores the content and returns its SHA-256, hex. Synced: it is large and rare. */
  store(session: string, content: Buffer): string {
    const sha256 = sha256Hex(content)
    const folder = join(this.#folder, session)
    const path = join(folder, sha256)
    if (existsSync(path)) return sha256
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const temporary = `${path}.tmp`
    const fd = openSync(temporary, 'w', 0o600)
    try {
      for (let at = 0; at < content.length;) at += writeSync(fd, content, at)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
    this.#stored(session, content.length)
    return sha256
  }

  /** The content, undefined where it is not here (any more). */
  read(session: string, sha256: string): Buffer | undefined {
    try {
      return readFileSync(join(this.#folder, session, sha256))
    } catch {
      return undefined
    }
  }

  /** Forgets what is stored as evidence. */
  drop(session: string): void {
    rmSync(join(this.#folder, session), { recursive: true, force: true })
  }
}
