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

/** A view of the segment: the shipper looks at every line that agents cause, and copies each once. */
export class Frame {
  readonly segment: Buffer
  readonly kind: 'session' | 'ledger'
  readonly id: string
  /** Where in the segment the frame begins and ends. */
  readonly start: number
  readonly end: number

  constructor(segment: Buffer, kind: 'session' | 'ledger', id: string, start: number, end: number) {
    this.segment = segment
    this.kind = kind
    this.id = id
    this.start = start
    this.end = end
  }

  get lineStart(): number {
    return this.start + HEADER_BYTES
  }

  get prev(): Buffer {
    return this.segment.subarray(this.start + PREV_AT, this.lineStart)
  }

  /** Without LF. */
  get line(): Buffer {
    return this.segment.subarray(this.lineStart, this.end)
  }
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
  return new Frame(segment, kind === 1 ? 'ledger' : 'session', idText(segment.toString('latin1', start + CHECKED_FROM + 1, start + PREV_AT)), start, end)
}

const ids = new Map<string, string>()
const IDS_KEPT = 2000

/** The id of sixteen bytes, given as Latin-1; most lines are of few sessions. */
function idText(bytes: string): string {
  let id = ids.get(bytes)
  if (id === undefined) {
    if (ids.size >= IDS_KEPT) ids.clear()
    id = uuidText(Buffer.from(bytes, 'latin1').toString('hex'))
    ids.set(bytes, id)
  }
  return id
}

const markerBytes = Buffer.from([0xa7, 0x41, 0x41, 0x1f])

/** Where the next intact frame begins after damage; -1 where there is none. */
export function nextFrame(segment: Buffer, from: number): number {
  for (let at = segment.indexOf(markerBytes, from); at !== -1; at = segment.indexOf(markerBytes, at + 1)) {
    if (typeof readFrame(segment, at) === 'object') return at
  }
  return -1
}
