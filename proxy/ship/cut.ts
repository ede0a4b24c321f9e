// Reads the spool from the cursor and cuts what it finds into parts: the bytes of an object are fixed here, once.
import { closeSync, existsSync, fstatSync, openSync, readSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { constants, zstdCompressSync } from 'node:zlib'
import {
  blobName,
  chainNext,
  indexName,
  ledgerFolder,
  manifestName,
  partName,
  sealManifest,
  sessionFolder,
  sha256Hex,
  type Signer,
} from '@agentaccess/recording'
import { BlobSpool } from '../record/blob-spool.ts'
import { readFrame, type Frame } from '../record/frame.ts'
import { listSegments, segmentName } from '../record/spool.ts'
import type { Exports } from './otlp/exports.ts'
import { foldFrame, headAfter, type LogTable } from './fold.ts'
import type { LogState, ShipState } from './ship-state.ts'

const READ_BYTES = 8 * 1024 * 1024
const PART_BYTES = 256 * 1024
const FIRST_INTERVAL_MS = 1000
const LAST_INTERVAL_MS = 30_000
/** A busy session backs off after this many parts. */
const QUICK_PARTS = 8

export interface CutOptions {
  folder: string
  namespace: string
  signer: Signer
  /** For the collector; undefined where there is none. */
  exports?: Exports | undefined
  /** Cut everything that is there, due or not: the proxy is stopping. */
  all?: boolean
}

/** One step: reads at most 8 MiB of the spool, cuts what is due. Returns whether there is more to read. */
export function cutParts(state: ShipState, now: number, options: CutOptions): boolean {
  const { batch, next, finished } = readBatch(state, options.folder)
  const blobs = new BlobSpool(options.folder)
  const done: string[] = []
  state.transaction(() => {
    const logs = new Map<string, LogState>()
    const table: LogTable = {
      get(id) {
        const log = logs.get(id) ?? state.log(id)
        if (log) logs.set(id, log)
        return log
      },
      set: (id, log) => logs.set(id, log),
    }
    // Sessions first: what the ledger says of one is noted at what is known of it.
    const byKind = [...batch.values()].sort((a, b) => Number(a[0]!.kind === 'ledger') - Number(b[0]!.kind === 'ledger'))
    const fresh = new Map<string, Buffer>()
    for (const frames of byKind) {
      foldFrames(state, table, frames, fresh, options.namespace)
      options.exports?.queue(state, frames)
    }
    for (const log of logs.values()) state.saveLog(log)
    for (const id of state.logIds()) {
      const log = state.log(id)!
      if (log.kind === 'session' && isDue(log, now, options)) {
        cutSession(state, log, fresh.get(id), now, options, blobs)
        if (isOver(log)) done.push(id)
      } else if (fresh.has(id)) state.addPending(id, fresh.get(id)!, false)
    }
    // After the sessions: a ledger that says `close` is stored later than the manifest it speaks of.
    for (const id of state.logIds()) {
      const log = state.log(id)!
      if (log.kind === 'ledger' && isDue(log, now, options)) cutLedger(state, log, now, options)
    }
    state.cursor = next
  })
  for (const id of done) blobs.drop(id)
  for (const segment of finished) unlinkSync(join(options.folder, segmentName(segment)))
  return batch.size > 0
}

interface Batch {
  batch: Map<string, Frame[]>
  next: { segment: number; offset: number }
  finished: number[]
}

function readBatch(state: ShipState, folder: string): Batch {
  const batch = new Map<string, Frame[]>()
  const segments = listSegments(folder)
  const finished: number[] = []
  let { segment, offset } = state.cursor
  if (!segments.includes(segment)) {
    segment = segments.find((s) => s > segment) ?? segment
    offset = 0
  }
  for (let room = READ_BYTES; room > 0 && segments.includes(segment);) {
    // Asked before the read: once there is a later segment, nothing more comes into this one.
    const later = segments.find((s) => s > segment)
    const read = readSegment(join(folder, segmentName(segment)), offset, room)
    let at = 0
    for (;;) {
      const frame = readFrame(read.bytes, at)
      // An incomplete frame is one that is being written. Anything else was damaged after it was written.
      if (frame === 'torn') break
      if (frame === 'damaged')
        throw new Error(`the spool is damaged: ${segmentName(segment)} has no frame at byte ${offset + at}; a restart of the proxy sets the damage aside`)
      at = frame.end
      const frames = batch.get(frame.id)
      if (frames) frames.push(frame)
      else batch.set(frame.id, [frame])
    }
    offset += at
    room -= Math.max(at, 1)
    if (offset < read.size || later === undefined) break
    finished.push(segment)
    segment = later
    offset = 0
  }
  return { batch, next: { segment, offset }, finished }
}

/**
 * The segment is not synced: once the transaction is through, the lines are on the disk in the state, and after a power cut no
 * one asks for them here. A sync here would hold up the write of the next lines, for which agents wait.
 */
function readSegment(path: string, offset: number, limit: number): { bytes: Buffer; size: number } {
  if (!existsSync(path)) return { bytes: Buffer.alloc(0), size: 0 }
  const fd = openSync(path, 'r')
  try {
    const { size } = fstatSync(fd)
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(size - offset, limit)))
    const read = bytes.length === 0 ? 0 : readSync(fd, bytes, 0, bytes.length, offset)
    return { bytes: bytes.subarray(0, read), size }
  } finally {
    closeSync(fd)
  }
}

function foldFrames(state: ShipState, logs: LogTable, frames: Frame[], fresh: Map<string, Buffer>, namespace: string): void {
  const [{ id, kind }] = frames as [Frame]
  const all = Buffer.allocUnsafe(frames.reduce((sum, { lineStart, end }) => sum + end - lineStart + 1, 0))
  let [from, to] = [0, 0]
  const flush = (signed: boolean) => {
    const bytes = all.subarray(from, to)
    from = to
    if (bytes.length === 0) return
    // What is cut in this very step need not be kept first.
    if (kind === 'session') fresh.set(id, bytes)
    else state.addPending(id, bytes, signed)
    logs.get(id)!.pendingBytes += bytes.length
  }
  for (const frame of frames) {
    const log = foldFrame(logs, frame, namespace)
    to += frame.segment.copy(all, to, frame.lineStart, frame.end)
    all[to++] = LINE_FEED
    // Parts of a ledger end with a signed head: what follows one waits for the next.
    if (log.kind === 'ledger' && log.seq > 1 && log.summary.signedThrough === log.seq - 1) flush(true)
  }
  flush(false)
  logs.get(id)!.head = headAfter(frames.at(-1)!)
}

/** Nothing more comes of this session, and the ledger knows. */
const isOver = (log: LogState) => log.ended !== undefined && log.closed

const LINE_FEED = 0x0a

function isDue(log: LogState, now: number, options: CutOptions): boolean {
  if (isOver(log)) return true
  return log.pendingBytes >= PART_BYTES || (log.pendingBytes > 0 && (options.all === true || now - log.lastCutMs >= log.intervalMs))
}

function cutSession(state: ShipState, log: LogState, fresh: Buffer | undefined, now: number, options: CutOptions, blobs: BlobSpool): void {
  const folder = sessionFolder(options.namespace, log.id)
  for (const sha256 of log.blobs.slice(log.blobsCut)) {
    const body = blobs.read(log.id, sha256)
    // Written and synced before the line that names it: if it is gone, the verifier says so.
    if (body) state.queue(folder + blobName(sha256), body, log.summary.access, body.length)
  }
  log.blobsCut = log.blobs.length
  const kept = state.takePending(log.id)
  const lines = fresh ? Buffer.concat([kept, fresh]) : kept
  if (lines.length > 0) addPart(state, log, lines, folder, now)
  if (!log.ended || !log.closed) return state.saveLog(log)
  const manifest = sealManifest(
    {
      session: log.id,
      ledger: { spool: state.spoolId(), n: log.ledgerN },
      parts: log.parts,
      blobs: log.blobs,
      events: log.seq,
      head: log.head.toString('hex'),
      state: log.ended,
    },
    options.signer,
  )
  state.queue(folder + manifestName, manifest, log.summary.access)
  const { open: _open, signedThrough: _signedThrough, ...summary } = log.summary
  state.queue(indexName(options.namespace, log.id), Buffer.from(`${JSON.stringify(summary)}\n`))
  state.dropLog(log.id)
}

function cutLedger(state: ShipState, log: LogState, now: number, options: CutOptions): void {
  const lines = state.takePending(log.id, true)
  if (lines.length > 0) {
    addPart(state, log, lines, ledgerFolder(options.namespace, log.id), now)
    log.signedHead = headOf(log.id, lines)
  }
  state.saveLog(log)
}

/** The head that the last of these lines, a signed one, makes. */
function headOf(ledger: string, lines: Buffer): string {
  const last = lines.subarray(lines.lastIndexOf(LINE_FEED, lines.length - 2) + 1, lines.length - 1)
  const { seq, head } = JSON.parse(last.toString('utf8')) as { seq: number; head: string }
  return `${ledger}:${seq}:${chainNext(Buffer.from(head, 'hex'), last).toString('hex')}`
}

function addPart(state: ShipState, log: LogState, lines: Buffer, folder: string, now: number): void {
  const body = zstdCompressSync(lines, { params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } })
  const name = partName(++log.partCount, sha256Hex(body))
  if (log.kind === 'session') log.parts.push({ name, firstSeq: log.cutThrough + 1, lastSeq: log.seq, bytes: body.length })
  log.cutThrough = log.seq
  log.pendingBytes -= lines.length
  log.lastCutMs = now
  // A ledger is never late: an ended session is not whole before its ledger says so.
  log.intervalMs = log.partCount < QUICK_PARTS || log.kind === 'ledger' ? FIRST_INTERVAL_MS : Math.min(LAST_INTERVAL_MS, log.intervalMs * 1.5)
  state.queue(folder + name, body, log.summary.access, lines.length)
}
