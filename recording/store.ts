// What a place that keeps evidence can do. Readers never write and writers never read: the proxy's rights end at a put.
import type { Readable } from 'node:stream'

export interface StoredObject {
  key: string
  bytes: number
}

export interface EvidenceReader {
  /** Keys under a prefix, in ascending order. */
  list(prefix: string): AsyncIterable<StoredObject>
  /** The object's content as a stream, which fails with `ENOENT` where there is none. */
  open(key: string): Readable
  /** A small object at once; undefined where there is none. */
  read(key: string): Promise<Buffer | undefined>
}

export interface EvidenceWriter {
  /**
   * Stores an object that must not be there yet. `existed` where it is: keys hold their content's hash, so a repeated
   * put is the same put. Durable once it resolves. `retainUntil`: nobody may delete it before, where the store has that.
   */
  put(key: string, body: Uint8Array, retainUntil?: Date): Promise<'stored' | 'existed'>
}
