// The append log of one proxy process: lines gather in a batch, one write puts the batch into the current segment.
import { closeSync, fdatasync, fsyncSync, mkdirSync, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { MAX_LINE_BYTES, sha256Hex, type LineSink, type LogWriter } from '@agentaccess/recording'
import { HEADER_BYTES, PREV_AT, writeHeader } from './frame.ts'

const SEGMENT_BYTES = 64 * 1024 * 1024
const FIRST_BATCH_BYTES = 256 * 1024
const SEGMENT_NAME = /^\d{10}\.seg$/

/** The part of `node:fs` that can fail under the spool, passed in so that a test can make it fail. */
export interface SpoolDisk {
  write(fd: number, bytes: Buffer, offset: number, length: number): number
  datasync(fd: number, done: (error: NodeJS.ErrnoException | null) => void): void
}

const disk: SpoolDisk = { write: (fd, bytes, offset, length) => writeSync(fd, bytes, offset, length), datasync: (fd, done) => fdatasync(fd, done) }

export const segmentName = (number: number) => `${String(number).padStart(10, '0')}.seg`

/** Numbers of the segments in a spool, ascending. */
export function listSegments(folder: string): number[] {
  return readdirSync(folder)
    .filter((name) => SEGMENT_NAME.test(name))
    .map((name) => Number(name.slice(0, 10)))
    .sort((a, b) => a - b)
}

export class Spool implements LineSink {
  readonly folder: string
  readonly #disk: SpoolDisk
  #segment: number
  #fd: number
  #segmentBytes = 0
  #batch = Buffer.allocUnsafeSlow(FIRST_BATCH_BYTES)
  #start = 0
  #end = 0
  /** Descriptors with bytes that no fdatasync covers yet; the last one is the current segment's. */
  #unsynced: number[] = []

  /** Starts a new segment after those that are there. @throws where the folder can't be written. */
  constructor(folder: string, options: { disk?: SpoolDisk } = {}) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    this.folder = folder
    this.#disk = options.disk ?? disk
    this.#segment = (listSegments(folder).at(-1) ?? 0) + 1
    this.#fd = this.#openSegment()
  }

  /** Bytes that wait for `write`. */
  get pending(): number {
    return this.#end - this.#start
  }

  append(log: LogWriter, previous: string, line: string): string {
    const start = this.#reserve(HEADER_BYTES + line.length * 3)
    const lineBytes = this.#batch.write(line, start + HEADER_BYTES)
    // Callers move what is large into a blob; a longer line here would be one that no reader accepts.
    if (lineBytes >= MAX_LINE_BYTES) throw new RangeError(`a line of ${lineBytes} bytes in session ${log.id}`)
    writeHeader(this.#batch, start, lineBytes, log.kind, log.idBytes, previous)
    this.#end = start + HEADER_BYTES + lineBytes
    // The chain's next value: the one before and the line stand next to each other.
    return sha256Hex(this.#batch.subarray(start + PREV_AT, this.#end))
  }

  #reserve(bytes: number): number {
    if (this.#batch.length - this.#end < bytes) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#batch.length, (this.pending + bytes) * 2))
      this.#batch.copy(larger, 0, this.#start, this.#end)
      this.#end -= this.#start
      this.#start = 0
      this.#batch = larger
    }
    return this.#end
  }

  /**
   * Writes what has gathered. @throws the file system's error; what was not written stays, and the next call goes on
   * exactly there, so that the log has no hole.
   */
  write(): void {
    while (this.#start < this.#end) {
      const written = this.#disk.write(this.#fd, this.#batch, this.#start, this.#end - this.#start)
      this.#start += written
      this.#segmentBytes += written
    }
    this.#start = this.#end = 0
    if (this.#batch.length > FIRST_BATCH_BYTES * 16) this.#batch = Buffer.allocUnsafeSlow(FIRST_BATCH_BYTES)
    if (this.#segmentBytes >= SEGMENT_BYTES) this.#rotate()
  }

  /** fdatasync of everything written so far. */
  sync(done: (error: NodeJS.ErrnoException | null) => void): void {
    const descriptors = this.#unsynced
    this.#unsynced = [this.#fd]
    let left = descriptors.length
    let failed: NodeJS.ErrnoException | null = null
    for (const fd of descriptors) {
      this.#disk.datasync(fd, (error) => {
        failed ??= error
        if (!this.#unsynced.includes(fd)) closeSync(fd)
        if (--left === 0) done(failed)
      })
    }
  }

  close(): void {
    this.write()
    for (const fd of this.#unsynced) {
      fsyncSync(fd)
      closeSync(fd)
    }
    this.#unsynced = []
  }

  #rotate(): void {
    this.#segment++
    this.#fd = this.#openSegment()
  }

  #openSegment(): number {
    const fd = openSync(join(this.folder, segmentName(this.#segment)), 'ax', 0o600)
    this.#segmentBytes = 0
    this.#unsynced.push(fd)
    // The name must survive a power cut as the bytes do.
    const folder = openSync(this.folder, 'r')
    fsyncSync(folder)
    closeSync(folder)
    return fd
  }
}
