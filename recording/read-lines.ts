// Lines of consecutive parts, as a stream: never more than a chunk and a line in memory.
import { createHash } from 'node:crypto'
import { createZstdDecompress } from 'node:zlib'
import { MAX_LINE_BYTES, parsePartName } from './layout.ts'
import type { EvidenceReader } from './store.ts'

/** What is wrong with an object of the evidence, and where. */
export class EvidenceError extends Error {
  readonly object: string

  constructor(object: string, message: string) {
    super(message)
    this.name = 'EvidenceError'
    this.object = object
  }
}

export interface PartObject {
  key: string
  name: string
  number: number
  sha256: string
  bytes: number
}

/** Splits a folder's objects into parts, in order, and the rest. */
export async function listFolder(store: EvidenceReader, folder: string): Promise<{ parts: PartObject[]; others: string[] }> {
  const parts: PartObject[] = []
  const others: string[] = []
  for await (const { key, bytes } of store.list(folder)) {
    const name = key.slice(folder.length)
    const part = parsePartName(name)
    if (part) parts.push({ key, name, bytes, ...part })
    else others.push(name)
  }
  parts.sort((a, b) => a.number - b.number || (a.name < b.name ? -1 : 1))
  return { parts, others }
}

/**
 * The lines of one part without their LF, in batches as they are decompressed. Ends with an EvidenceError where the
 * object is not what its name says, does not decompress, or has a line that is too long or not ended; the lines before
 * that come first, so that a reader can say how far the part is good.
 */
export async function* readPart(store: EvidenceReader, part: PartObject): AsyncGenerator<Buffer[]> {
  const digest = createHash('sha256')
  const decompress = createZstdDecompress()
  const source = store.open(part.key)
  source.on('data', (chunk: Buffer) => digest.update(chunk))
  source.on('error', (error) => decompress.destroy(error))
  source.pipe(decompress)
  let rest: Buffer = Buffer.alloc(0)
  try {
    for await (const chunk of decompress as AsyncIterable<Buffer>) {
      const data = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
      const lines: Buffer[] = []
      let start = 0
      for (let end = data.indexOf(10); end !== -1; end = data.indexOf(10, start)) {
        lines.push(data.subarray(start, end))
        start = end + 1
      }
      rest = data.subarray(start)
      if (lines.length > 0) yield lines
      const longest = Math.max(rest.length, ...lines.map((line) => line.length))
      if (longest >= MAX_LINE_BYTES) throw new EvidenceError(part.key, `a line is longer than ${MAX_LINE_BYTES} bytes`)
    }
  } catch (error) {
    if (error instanceof EvidenceError) throw error
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    throw new EvidenceError(part.key, code === 'ENOENT' ? 'the object is missing' : `the object does not decompress (${code || String(error)})`)
  } finally {
    source.destroy()
  }
  if (rest.length > 0) throw new EvidenceError(part.key, 'the last line is cut')
  if (digest.digest('hex') !== part.sha256) throw new EvidenceError(part.key, 'the object is not the one that its name was made from')
}
