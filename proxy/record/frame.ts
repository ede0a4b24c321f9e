// A frame of the spool: docs/recording-format.md, "Spool".
//
//   marker  4  A7 41 41 1F
//   length  4  of the line, big-endian
//   crc     4  CRC-32 (ISO-HDLC, zlib's) of all that follows
//   kind    1  0 session, 1 ledger
//   id     16  of the session or ledger
//   prev   32  the chain's value before the line: next to the line, so that both are hashed in one piece
//   line       without LF
import { crc32 } from 'node:zlib'
import { MAX_LINE_BYTES, uuidText } from '@agentaccess/recording'

export const HEADER_BYTES = 61
const MARKER = 0xa741411f
const CHECKED_FROM = 12
export const PREV_AT = 29

export interface Frame {
  kind: 'session' | 'ledger'
  id: string
  prev: Buffer
  line: Buffer
  /** Where in the segment the frame begins and ends. */
  start: number
  end: number
}

/** Writes the header in front of a line that already stands at `start + HEADER_BYTES`. */
export function writeHeader(batch: Buffer, start: number, lineBytes: number, kind: 'session' | 'ledger', id: Buffer, prev: string): void {
  batch.writeUInt32BE(MARKER, start)
  batch.writeUInt32BE(lineBytes, start + 4)
  batch[start + CHECKED_FROM] = kind === 'ledger' ? 1 : 0
  id.copy(batch, start + CHECKED_FROM + 1)
  batch.write(prev, start + PREV_AT, 'hex')
  batch.writeUInt32BE(crc32(batch.subarray(start + CHECKED_FROM, start + HEADER_BYTES + lineBytes)), start + 8)
}

/** `torn`: the bytes end before the frame does. `damaged`: what stands there is not a frame. */
export type FrameAt = Frame | 'torn' | 'damaged'

export function readFrame(segment: Buffer, start: number): FrameAt {
  if (segment.length - start < HEADER_BYTES) return 'torn'
  if (segment.readUInt32BE(start) !== MARKER) return 'damaged'
  const length = segment.readUInt32BE(start + 4)
  if (length > MAX_LINE_BYTES) return 'damaged'
  const end = start + HEADER_BYTES + length
  if (end > segment.length) return 'torn'
  const kind = segment[start + CHECKED_FROM]!
  if (kind > 1 || crc32(segment.subarray(start + CHECKED_FROM, end)) !== segment.readUInt32BE(start + 8)) return 'damaged'
  const id = uuidText(segment.toString('hex', start + CHECKED_FROM + 1, start + PREV_AT))
  return {
    kind: kind === 1 ? 'ledger' : 'session',
    id,
    prev: segment.subarray(start + PREV_AT, start + HEADER_BYTES),
    line: segment.subarray(start + HEADER_BYTES, end),
    start,
    end,
  }
}

const markerBytes = Buffer.from([0xa7, 0x41, 0x41, 0x1f])

/** Where the next intact frame begins after damage; -1 where there is none. */
export function nextFrame(segment: Buffer, from: number): number {
  for (let at = segment.indexOf(markerBytes, from); at !== -1; at = segment.indexOf(markerBytes, at + 1)) {
    if (typeof readFrame(segment, at) === 'object') return at
  }
  return -1
}
