// Folds a frame into what is known of its log. The shipper does it as it reads, recovery does it for what the shipper had not read.
import { chainNext, foldEvent, type Event } from '@agentaccess/recording'
import type { Frame } from '../record/frame.ts'
import { newLog, type LogState } from './ship-state.ts'

/** The logs that are known, by id. A log that `get` gave is changed in place. */
export interface LogTable {
  get(id: string): LogState | undefined
  set(id: string, log: LogState): void
}

interface LedgerLine {
  kind: 'open' | 'close' | 'head'
  seq: number
  n?: number
  session?: string
  access?: string
  through?: number
}

export function logOf(logs: LogTable, kind: LogState['kind'], id: string, namespace: string): LogState {
  let log = logs.get(id)
  if (!log) {
    log = newLog(kind, id, namespace)
    logs.set(id, log)
  }
  return log
}

/** The value of the chain behind a frame. */
export function headAfter(frame: Frame): Buffer {
  if (peek(frame).kind === 'gap') {
    const { chain } = JSON.parse(frame.line.toString('utf8')) as { chain?: string }
    if (chain !== undefined) return Buffer.from(chain, 'hex')
  }
  return chainNext(frame.prev, frame.line)
}

/**
 * Changes the log, and what a ledger line says of a session's; not the log's head. The line is of our own making: the
 * frame's checksum has vouched for it.
 */
export function foldFrame(logs: LogTable, frame: Frame, namespace: string): LogState {
  const log = logOf(logs, frame.kind, frame.id, namespace)
  const seen = peek(frame)
  log.seq = seen.seq
  if (log.kind === 'session' && foldQuickly(log, seen, frame)) return log
  const event = JSON.parse(frame.line.toString('utf8')) as Event | LedgerLine
  if (event.kind === 'gap' && event.through !== undefined) log.seq = event.through
  if (log.kind === 'ledger') foldLedgerLine(logs, log, event as LedgerLine, namespace)
  else foldSessionEvent(log, event as Event)
  return log
}

interface Peeked {
  seq: number
  kind: string
  /** Where in the segment the kind ends. */
  kindEnd: number
}

const [COMMA, QUOTE, ZERO] = [0x2c, 0x22, 0x30]

/** A line begins `{"seq":12,"kind":"command",`: that much is known without parsing it. */
function peek({ segment, lineStart }: Frame): Peeked {
  let at = lineStart + '{"seq":'.length
  let seq = 0
  for (; segment[at] !== COMMA; at++) seq = seq * 10 + segment[at]! - ZERO
  at += ',"kind":"'.length
  const kindEnd = segment.indexOf(QUOTE, at)
  return { seq, kind: segment.toString('latin1', at, kindEnd), kindEnd }
}

/** What stands between a session line's kind and its own fields, all of a fixed length. */
const IDENTITY_BYTES = `","session":"${'0'.repeat(36)}","prev":"${'0'.repeat(16)}","time":"${'0'.repeat(24)}"`.length

/** A command that went well, as session-record.ts writes it: its number, and its rows. */
const ORDINARY_RESULT =
  /^,"command":(\d+),"status":"ok","final":true,"durationMs":[\d.]+,"attributes":\{"agentaccess\.command\.tag":"[A-Z0-9 ]*"(?:,"db\.response\.returned_rows":(\d+))?(?:,"agentaccess\.response\.bytes":\d+)?\}\}$/

/** Most lines, without parsing them: this is the shipper's work for every command that agents run. */
function foldQuickly(log: LogState, { seq, kind, kindEnd }: Peeked, frame: Frame): boolean {
  switch (kind) {
    case 'command':
    case 'statement':
    case 'decision':
    case 'execute':
      if (frame.line.includes('.blob":"')) return false
      if (kind === 'command') {
        log.summary.commands++
        log.summary.open.push(seq)
      }
      return true
    case 'result': {
      const found = ORDINARY_RESULT.exec(frame.segment.toString('latin1', kindEnd + IDENTITY_BYTES, frame.end))
      if (!found) return false
      const at = log.summary.open.indexOf(Number(found[1]))
      if (at !== -1) log.summary.open.splice(at, 1)
      log.summary.rows += Number(found[2] ?? 0)
      return true
    }
    case 'checkpoint':
      if (log.ending) return false
      log.summary.signedThrough = seq - 1
      return true
    default:
      return false
  }
}

function foldLedgerLine(logs: LogTable, log: LogState, line: LedgerLine, namespace: string): void {
  if (line.kind === 'head' && line.through !== undefined) log.summary.signedThrough = line.through
  if (line.session === undefined || line.n === undefined) return
  const session = line.kind === 'open' ? logOf(logs, 'session', line.session, namespace) : logs.get(line.session)
  if (line.kind === 'open') log.lastN = line.n
  if (!session) return
  session.ledgerN = line.n
  if (line.access !== undefined) session.summary.access = line.access
  if (line.kind === 'close') session.closed = true
}

function foldSessionEvent(log: LogState, event: Event): void {
  foldEvent(log.summary, event)
  if (event.kind === 'session.started') log.ledgerN = event.ledger.n
  if (event.kind === 'session.ended') log.ending = event.by === 'interrupted' ? 'interrupted' : 'ended'
  // The end is signed, and nothing follows.
  if (event.kind === 'checkpoint' && log.ending) log.ended = log.ending
  if ('attributes' in event && event.attributes) {
    for (const [name, value] of Object.entries(event.attributes)) {
      if (name.endsWith('.blob') && typeof value === 'string' && !log.blobs.includes(value)) log.blobs.push(value)
    }
  }
}
