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

/** Changes the log, and what a ledger line says of a session's. The line is of our own making: the frame's checksum has vouched for it. */
export function foldFrame(logs: LogTable, frame: Frame, namespace: string): LogState {
  const log = logOf(logs, frame.kind, frame.id, namespace)
  const event = JSON.parse(frame.line.toString('utf8')) as Event | LedgerLine
  if (event.kind === 'gap' && 'chain' in event && typeof event.chain === 'string') {
    log.head = Buffer.from(event.chain, 'hex')
    log.seq = event.through ?? event.seq
  } else {
    log.head = chainNext(log.head, frame.line)
    log.seq = event.seq
  }
  if (log.kind === 'ledger') foldLedgerLine(logs, log, event as LedgerLine, namespace)
  else foldSessionEvent(log, event as Event)
  return log
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
