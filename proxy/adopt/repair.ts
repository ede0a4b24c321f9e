// Sets damage aside: what is intact is written anew, in order, with a signed gap where lines are lost. The shipper then
// never meets anything but frames.
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { chainNext, LogWriter, type LineSink, type Signer } from '@agentaccess/recording'
import { HEADER_BYTES, writeHeader, type Frame } from '../record/frame.ts'
import { listSegments, segmentName } from '../record/spool.ts'
import type { ShipState } from '../ship/ship-state.ts'
import type { LostLines, Region, Scan } from './scan.ts'

const REPAIR_NAME = /^repair-(\d{10})\.tmp$/

/** Finishes, or drops, a repair that a crash interrupted, and drops segments that are evidence already. */
export function finishRepair(folder: string, state: ShipState): void {
  const { segment: cursor } = state.cursor
  for (const name of readdirSync(folder)) {
    const match = REPAIR_NAME.exec(name)
    if (!match) continue
    // The cursor moves to the repaired segment before its name does: that is the moment at which the repair counts.
    if (Number(match[1]) === cursor && !existsSync(join(folder, segmentName(cursor)))) renameSync(join(folder, name), join(folder, segmentName(cursor)))
    else rmSync(join(folder, name))
  }
  for (const segment of listSegments(folder)) if (segment < cursor) rmSync(join(folder, segmentName(segment)))
}

/** Keeps a copy of bytes that are not frames, for a person to look at. Returns its path. */
export function setAside(folder: string, region: Region): string {
  const aside = join(folder, 'damaged')
  mkdirSync(aside, { recursive: true, mode: 0o700 })
  const path = join(aside, `${segmentName(region.segment)}-${region.from}-${region.to}.bin`)
  writeFileSync(path, region.bytes, { mode: 0o600 })
  return path
}

export function truncateTorn(folder: string, torn: Region): void {
  truncateSync(join(folder, segmentName(torn.segment)), torn.from)
}

export function repairSegments(folder: string, scan: Scan, state: ShipState, signer: Signer, now: number): void {
  const number = (listSegments(folder).at(-1) ?? 0) + 1
  const temporary = join(folder, `repair-${String(number).padStart(10, '0')}.tmp`)
  const fd = openSync(temporary, 'w', 0o600)
  try {
    for (const item of scan.items) {
      if ('line' in item) writeFrame(fd, item)
      else writeGap(fd, item, signer, now)
    }
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  state.cursor = { segment: number, offset: 0 }
  finishRepair(folder, state)
}

function writeFrame(fd: number, { kind, id, prev, line }: Pick<Frame, 'kind' | 'id' | 'prev' | 'line'>): void {
  const bytes = Buffer.alloc(HEADER_BYTES + line.length)
  line.copy(bytes, HEADER_BYTES)
  writeHeader(bytes, 0, line.length, kind, Buffer.from(id.replaceAll('-', ''), 'hex'), prev.toString('hex'))
  writeSync(fd, bytes)
}

function writeGap(fd: number, { kind, id, position, through, chain, reason }: LostLines, signer: Signer, now: number): void {
  const sink: LineSink = {
    append(_log, previous, text) {
      const [prev, line] = [Buffer.from(previous, 'hex'), Buffer.from(text)]
      writeFrame(fd, { kind, id, prev, line })
      return chainNext(prev, line).toString('hex')
    },
  }
  new LogWriter(kind, id, sink, signer, position).damage(now, through, chain, reason)
}
