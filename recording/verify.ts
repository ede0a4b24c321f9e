// Verifies evidence: given sessions, or all there is, including what should be there and is not.
import { parsePublicKeyObject, publicKeyObject } from './keys.ts'
import { keyObjectName, locateLedger, locateSession, type SessionLocation } from './layout.ts'
import type { EvidenceReader } from './store.ts'
import { signatureCheck, type Trust } from './trust.ts'
import { readLedger, type Ledger, type WantedHead } from './verify-ledger.ts'
import { verifySession, type SessionReport } from './verify-session.ts'

export interface Findings {
  sessions: SessionReport[]
  /** Of the evidence as a whole: altered ledgers, sessions that a ledger knows and that are gone, an older copy. */
  problems: { object?: string; message: string }[]
  /** `<spool>:<seq>:<hash>` of every ledger read: to keep elsewhere, for `--at-least`. */
  heads: string[]
}

export interface VerifyOptions {
  trust: Trust
  /** Session ids, or undefined for everything. */
  sessions?: readonly string[]
  /** Ledger heads that were kept elsewhere: `<spool>:<seq>:<hash>`, at most one for each spool. */
  atLeast?: readonly string[]
  /** Called for each session as it is judged, so that a caller need not wait for the last. */
  onSession?: (report: SessionReport) => void
}

/** @throws Error where `atLeast` or a session id is malformed or unknown: the question is wrong, not the evidence. */
export async function verifyEvidence(store: EvidenceReader, options: VerifyOptions): Promise<Findings> {
  const { trust } = options
  const findings: Findings = { sessions: [], problems: [], heads: [] }
  const wanted = new Map((options.atLeast ?? []).map(parseHead).map((head) => [head.spool, head]))
  const locations = await findSessions(store, options.sessions)
  const ledgerLocations = await findLedgers(store)
  const ledgers = new Map<string, Promise<Ledger>>()
  const used = new Set<string>()
  const ledgerOf = async (spool: string): Promise<Ledger | undefined> => {
    const location = ledgerLocations.get(spool)
    if (!location) return undefined
    let ledger = ledgers.get(spool)
    if (!ledger) {
      ledger = readLedger(store, location, signatureCheck(trust, used), wanted.get(spool))
      ledgers.set(spool, ledger)
    }
    return ledger
  }
  for (const location of locations) {
    const report = await verifySession(store, location, trust, ledgerOf)
    findings.sessions.push(report)
    options.onSession?.(report)
  }
  if (!options.sessions) {
    const present = new Set(locations.map(({ session }) => session))
    for (const spool of ledgerLocations.keys()) missingFromLedger(await ledgerOf(spool), present, findings)
    for (const { keys } of findings.sessions) for (const key of keys) used.add(key)
    await checkOtherObjects(store, used, findings)
  }
  for (const head of wanted.values()) {
    await ledgerOf(head.spool)
    if (head.found) continue
    findings.problems.push({
      message: `the ledger of ${head.spool} does not hold entry ${head.seq} with the given hash: this copy is older than that head, or was cut`,
    })
  }
  for (const ledger of await Promise.all(ledgers.values())) if (ledger.head) findings.heads.push(ledger.head)
  return findings
}

function missingFromLedger(ledger: Ledger | undefined, present: ReadonlySet<string>, findings: Findings): void {
  if (!ledger) return
  if (ledger.problem)
    findings.problems.push({
      ...(ledger.problem.object ? { object: ledger.problem.object } : {}),
      message: `the ledger of ${ledger.spool} is altered: ${ledger.problem.message}`,
    })
  if (ledger.lost.length > 0)
    findings.problems.push({
      object: ledger.folder,
      message: `the ledger says that ${ledger.lost.map(({ from, through }) => `its entries ${from} to ${through}`).join(', ')} were lost in a damaged spool`,
    })
  for (const { session, n, access } of ledger.sessions.values()) {
    if (!present.has(session))
      findings.problems.push({ object: ledger.folder, message: `session ${session} is missing: number ${n} in the ledger, at access ${access}` })
  }
}

/** Keys that are not what their names say or are missing, and objects that have no place in the evidence. */
async function checkOtherObjects(store: EvidenceReader, used: ReadonlySet<string>, findings: Findings): Promise<void> {
  const missing = new Set(used)
  for await (const { key } of store.list('')) {
    if (key.startsWith('keys/')) {
      if (await isKeyObject(store, key)) missing.delete(key.slice('keys/'.length, -'.json'.length))
      else findings.problems.push({ object: key, message: 'the object is not the public key that its name says' })
    } else if (!key.startsWith('index/') && !locateSession(key) && !locateLedger(key))
      findings.problems.push({ object: key, message: 'the object has no place in the evidence' })
  }
  for (const id of missing) findings.problems.push({ object: keyObjectName(id), message: 'the public key is missing' })
}

async function isKeyObject(store: EvidenceReader, name: string): Promise<boolean> {
  try {
    const text = ((await store.read(name)) ?? Buffer.alloc(0)).toString('utf8')
    const { id, key } = parsePublicKeyObject(text)
    return name === keyObjectName(id) && text === publicKeyObject(key)
  } catch {
    return false
  }
}

function parseHead(text: string): WantedHead & { spool: string } {
  const match = /^([0-9a-f-]{36}):(\d+):([0-9a-f]{64})$/.exec(text)
  if (!match) throw new Error(`not a ledger head: ${text} (expected <spool>:<entry>:<hash>, as \`verify\` prints it)`)
  return { spool: match[1]!, seq: Number(match[2]), hash: match[3]!, found: false }
}

/** Where sessions lie. @throws where one that was asked for is not in the evidence. */
export async function findSessions(store: EvidenceReader, ids?: readonly string[]): Promise<SessionLocation[]> {
  const found = new Map<string, SessionLocation>()
  for await (const { key } of store.list('sessions/')) {
    const location = locateSession(key)
    if (location && (!ids || ids.includes(location.session))) found.set(location.folder, location)
  }
  const locations = [...found.values()]
  for (const id of ids ?? []) if (!locations.some(({ session }) => session === id)) throw new Error(`no session ${id} in the evidence`)
  return locations
}

async function findLedgers(store: EvidenceReader): Promise<Map<string, NonNullable<ReturnType<typeof locateLedger>>>> {
  const found = new Map<string, NonNullable<ReturnType<typeof locateLedger>>>()
  for await (const { key } of store.list('ledger/')) {
    const location = locateLedger(key)
    if (location) found.set(location.spool, location)
  }
  return found
}
