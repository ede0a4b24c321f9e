// Reads and checks one proxy's ledger: which sessions there were, so that one that is gone is missed.
import { AlteredError, LogWalker, type Line, type SignatureCheck } from './log-walker.ts'
import { EvidenceError, listFolder, readPart } from './read-lines.ts'
import { ledgerHeadText } from './signed-text.ts'
import type { EvidenceReader } from './store.ts'

interface LedgerSession {
  n: number
  session: string
  access: string
  closed?: { events: number; head: string; state: string }
}

export interface Ledger {
  spool: string
  namespace: string
  folder: string
  sessions: Map<string, LedgerSession>
  /** The last session number that the ledger knows. */
  lastN: number
  /** `<spool>:<seq>:<hash>` of the last line, to keep elsewhere; undefined where the ledger is empty. */
  head: string | undefined
  /** Ranges of lines lost to a damaged spool: sessions of theirs are not known. */
  lost: readonly { from: number; through: number }[]
  problem?: { object?: string; seq?: number; message: string }
}

/** Whether the ledger has this line, for `--at-least`: a copy that was rolled back as a whole does not. */
export interface WantedHead {
  seq: number
  hash: string
  found: boolean
}

export async function readLedger(
  store: EvidenceReader,
  location: { namespace: string; spool: string; folder: string },
  signed: SignatureCheck,
  wanted?: WantedHead,
): Promise<Ledger> {
  const ledger: Ledger = { ...location, sessions: new Map(), lastN: 0, head: undefined, lost: [] }
  const walker = new LogWalker('ledger', location.spool, signed)
  let object: string | undefined
  try {
    const { parts, others } = await listFolder(store, location.folder)
    if (others.length > 0) throw new EvidenceError(location.folder + others[0]!, 'the object does not belong to a ledger')
    let number = 1
    for (const part of parts) {
      object = part.key
      if (part.number !== number)
        throw new EvidenceError(part.key, part.number > number ? `ledger part ${number} is missing` : `there are two ledger parts ${part.number}`)
      number++
      let last: Line | undefined
      for await (const lines of readPart(store, part)) {
        for (const bytes of lines) {
          last = takeLine(walker, bytes, ledger, signed)
          if (wanted && walker.seq === wanted.seq && walker.head === wanted.hash) wanted.found = true
        }
      }
      if (last?.kind !== 'head') throw new AlteredError(walker.seq, `ledger part ${part.number} does not end with a signed head`)
    }
  } catch (error) {
    if (error instanceof AlteredError) ledger.problem = { ...(object ? { object } : {}), seq: error.seq, message: error.message }
    else if (error instanceof EvidenceError) ledger.problem = { object: error.object, message: error.message }
    else throw error
  }
  ledger.lost = walker.lost
  if (walker.seq > 0) ledger.head = `${location.spool}:${walker.seq}:${walker.head}`
  return ledger
}

function takeLine(walker: LogWalker, bytes: Buffer, ledger: Ledger, signed: SignatureCheck): Line {
  const lostBefore = walker.lost.length
  const { line, headBefore } = walker.next(bytes)
  const bad = (what: string): never => {
    throw new AlteredError(line.seq, `ledger entry ${line.seq}: ${what}`)
  }
  switch (line.kind) {
    case 'open': {
      const { n, session, access } = line
      if (typeof n !== 'number' || typeof session !== 'string' || typeof access !== 'string') return bad('malformed open')
      const known = ledger.lastN + 1
      if (n < known || (n > known && ledger.lost.length === 0)) return bad(`session number ${n} stands where ${known} belongs`)
      ledger.sessions.set(session, { n, session, access })
      ledger.lastN = n
      break
    }
    case 'close': {
      const { session, events, head, state } = line
      if (typeof session !== 'string' || typeof events !== 'number' || typeof head !== 'string' || typeof state !== 'string') return bad('malformed close')
      const entry = ledger.sessions.get(session)
      if (entry) entry.closed = { events, head, state }
      else if (ledger.lost.length === 0) return bad(`closes session ${session}, which was never opened`)
      break
    }
    case 'head': {
      const { through, n, head } = line
      if (through !== line.seq - 1 || head !== headBefore || n !== ledger.lastN) return bad('the head is not that of the entries before it')
      const verdict = signed(line.key, ledgerHeadText({ ledger: walker.id, through, n: ledger.lastN, head: headBefore }), line.sig)
      if (verdict === 'wrong') return bad('the signature of the head does not hold')
      if (verdict === 'unknown key') return bad(`signed by a key that is not trusted: ${String(line.key)}`)
      break
    }
    case 'gap':
      if (walker.lost.length === lostBefore) return bad('malformed gap')
      ledger.lost = walker.lost
      break
    default:
      // A kind of a later version: chained like any other.
      break
  }
  return line
}
