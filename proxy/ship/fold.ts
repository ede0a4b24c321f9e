// Folds a frame into what is known of its log. The shipper does it as it reads, recovery does it for what the shipper had not read.
import { chainNext, foldEvent, type Event } from '@agentaccess/recording'
import type { Frame } from '../record/frame.ts'
import type { LogState } from './ship-state.ts'

/** Changes the state. The line is of our own making: the frame's checksum has vouched for it. */
export function foldFrame(state: LogState, frame: Frame): void {
  const event = JSON.parse(frame.line.toString('utf8')) as Event | LedgerLine
  if (event.kind === 'gap' && 'chain' in event && typeof event.chain === 'string') {
    state.head = Buffer.from(event.chain, 'hex')
    state.seq = event.through ?? event.seq
  } else {
    state.head = chainNext(state.head, frame.line)
    state.seq = event.seq
  }
  if (state.kind === 'ledger') foldLedgerLine(state, event as LedgerLine)
  else foldSessionEvent(state, event as Event)
}

interface LedgerLine {
  kind: 'open' | 'close' | 'head'
  seq: number
  n?: number
  through?: number
}

function foldLedgerLine(state: LogState, line: LedgerLine): void {
  if (line.kind === 'open' && line.n !== undefined) state.lastN = line.n
  if (line.kind === 'head' && line.through !== undefined) state.summary.signedThrough = line.through
}

function foldSessionEvent(state: LogState, event: Event): void {
  foldEvent(state.summary, event)
  if (event.kind === 'session.started') state.ledgerN = event.ledger.n
  if (event.kind === 'session.ended') state.ended = event.by === 'interrupted' ? 'interrupted' : 'ended'
  if ('attributes' in event && event.attributes) {
    for (const [name, value] of Object.entries(event.attributes)) {
      if (name.endsWith('.blob') && typeof value === 'string' && !state.blobs.includes(value)) state.blobs.push(value)
    }
  }
}
