// Reads what a former proxy left in the spool: which logs stand where, what is torn, what is damaged.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ChainKind, LogPosition } from '@agentaccess/recording'
import { nextFrame, readFrame, type Frame } from '../record/frame.ts'
import { listSegments, segmentName } from '../record/spool.ts'
import { foldFrame, headAfter, logOf } from '../ship/fold.ts'
import type { Cursor, LogState, ShipState } from '../ship/ship-state.ts'

/** Bytes of a segment that hold no frame. */
export interface Region {
  segment: number
  from: number
  to: number
  bytes: Buffer
}

/** Lines of a log that are lost: what stands before them, and where the chain goes on. */
export interface LostLines {
  kind: ChainKind
  id: string
  position: LogPosition
  through: number
  chain: Buffer
  reason: string
}

export interface Scan {
  logs: Map<string, LogState>
  /** In the order of the log: intact frames, and the gaps between them. */
  items: (Frame | LostLines)[]
  damage: Region[]
  /** An incomplete frame at the very end. */
  torn: Region | undefined
  /** The last session number that any line speaks of. */
  lastN: number
  /** Number of damaged regions when a log's last line was read: a later one may hold lines of it. */
  damageSeen: Map<string, number>
  bytesByLog: Map<string, number>
}

export function describeRegion({ segment, from, to }: Region): string {
  return `bytes ${from} to ${to} of spool segment ${segmentName(segment)}`
}

export function scanSpool(folder: string, namespace: string, state: ShipState): Scan {
  const scan: Scan = { logs: new Map(), items: [], damage: [], torn: undefined, lastN: 0, damageSeen: new Map(), bytesByLog: new Map() }
  for (const id of state.logIds()) scan.logs.set(id, state.log(id)!)
  const segments = listSegments(folder).filter((segment) => segment >= state.cursor.segment)
  for (const segment of segments) {
    const bytes = readFileSync(join(folder, segmentName(segment)))
    scanSegment(scan, { segment, offset: segment === state.cursor.segment ? state.cursor.offset : 0 }, bytes, segment === segments.at(-1), namespace)
  }
  return scan
}

function scanSegment(scan: Scan, { segment, offset }: Cursor, bytes: Buffer, last: boolean, namespace: string): void {
  let at = offset
  while (at < bytes.length) {
    const frame = readFrame(bytes, at)
    if (typeof frame === 'object') {
      takeFrame(scan, frame, namespace)
      at = frame.end
      continue
    }
    const next = nextFrame(bytes, at + 1)
    const region: Region = { segment, from: at, to: next === -1 ? bytes.length : next, bytes: bytes.subarray(at, next === -1 ? bytes.length : next) }
    if (next === -1 && last) scan.torn = region
    else scan.damage.push(region)
    at = region.to
  }
}

function takeFrame(scan: Scan, frame: Frame, namespace: string): void {
  const log = logOf(scan.logs, frame.kind, frame.id, namespace)
  const line = JSON.parse(frame.line.toString('utf8')) as { seq: number; kind: string; n?: number; ledger?: { n: number } }
  if (line.seq !== log.seq + 1 || !frame.prev.equals(log.head)) {
    // A frame that was written twice adds nothing.
    if (line.seq <= log.seq) return
    const region = scan.damage.at(-1)
    scan.items.push({
      kind: log.kind,
      id: log.id,
      position: { seq: log.seq, head: log.head, signedThrough: log.summary.signedThrough },
      through: line.seq - 1,
      chain: Buffer.from(frame.prev),
      reason: `the spool was damaged: ${region ? describeRegion(region) : 'lines are missing'}`,
    })
  }
  foldFrame(scan.logs, frame, namespace)
  log.head = headAfter(frame)
  scan.items.push(frame)
  scan.damageSeen.set(frame.id, scan.damage.length)
  scan.bytesByLog.set(frame.id, (scan.bytesByLog.get(frame.id) ?? 0) + frame.line.length)
  const n = frame.kind === 'ledger' ? line.n : line.kind === 'session.started' ? line.ledger!.n : undefined
  if (n !== undefined) scan.lastN = Math.max(scan.lastN, n)
}
