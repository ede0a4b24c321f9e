// Judges one session: docs/recording-format.md, "Verifying".
import { sha256Hex } from './chain.ts'
import { blobName, manifestName, sessionFolder, type SessionLocation } from './layout.ts'
import { AlteredError, LogWalker, type Line, type SignatureCheck } from './log-walker.ts'
import { openManifest, type PartEntry } from './manifest.ts'
import { EvidenceError, listFolder, readPart } from './read-lines.ts'
import { checkpointText } from './signed-text.ts'
import type { EvidenceReader } from './store.ts'
import { signatureCheck, type Trust } from './trust.ts'
import type { Ledger } from './verify-ledger.ts'

export type Verdict = 'whole' | 'consistent, signer not checked' | 'incomplete' | 'damaged' | 'altered'

export interface SessionReport {
  session: string
  namespace: string
  verdict: Verdict
  /** What is wrong, or what was checked. */
  detail: string
  /** The first event that is wrong or missing. */
  seq?: number
  object?: string
  events: number
  /** Ids of the keys that signed it. */
  keys: string[]
}

interface Walked {
  walker: LogWalker
  parts: PartEntry[]
  ended: boolean
  lastIsCheckpoint: boolean
  /** `through` of the last checkpoint. */
  lastCheckpoint: number
  /** The record says of itself that something is missing. */
  gap: string | undefined
  started: { spool: string; n: number } | undefined
  blobs: Set<string>
}

/** `ledgerOf` finds the ledger that a session says it is in; undefined where there is none. */
export async function verifySession(
  store: EvidenceReader,
  location: SessionLocation,
  trust: Trust,
  ledgerOf: (spool: string) => Promise<Ledger | undefined>,
): Promise<SessionReport> {
  const used = new Set<string>()
  const signed = signatureCheck(trust, used)
  const walked: Walked = {
    walker: new LogWalker('session', location.session, signed),
    parts: [],
    ended: false,
    lastIsCheckpoint: false,
    lastCheckpoint: 0,
    gap: undefined,
    started: undefined,
    blobs: new Set(),
  }
  const report = (verdict: Verdict, detail: string, at: { seq?: number; object?: string } = {}): SessionReport => ({
    session: location.session,
    namespace: location.namespace,
    verdict,
    detail,
    ...at,
    events: walked.walker.seq,
    keys: [...used],
  })
  if (location.folder !== sessionFolder(location.namespace, location.session))
    return report('altered', 'the session does not lie in the folder of its day', { object: location.folder })
  try {
    const { parts, others } = await listFolder(store, location.folder)
    await walkParts(store, parts, walked, signed)
    await checkBlobs(store, location.folder, others, walked)
    const manifest = others.includes(manifestName) ? await checkManifest(store, location.folder + manifestName, walked, trust, used) : undefined
    const missing = await checkLedger(walked, manifest !== undefined, location, ledgerOf)
    if (missing) return report('incomplete', missing)
    if (!walked.ended)
      return report('incomplete', `no end: the record stops after event ${walked.walker.seq}, signed up to ${walked.lastCheckpoint}`, {
        seq: walked.walker.seq + 1,
      })
    if (!manifest) return report('incomplete', 'it ended, and its manifest is not here', { object: location.folder + manifestName })
  } catch (error) {
    if (error instanceof AlteredError) return report('altered', error.message, { seq: error.seq, ...objectOf(walked, error.seq, location.folder) })
    if (error instanceof EvidenceError) return report('altered', error.message, { object: error.object, seq: walked.walker.seq + 1 })
    throw error
  }
  const { lost } = walked.walker
  if (lost.length > 0)
    return report(
      'damaged',
      `the proxy's spool was damaged: ${lost.map(({ from, through }) => `events ${from} to ${through}`).join(', ')} are lost; the rest is as recorded`,
      { seq: lost[0]!.from },
    )
  if (walked.gap !== undefined) return report('damaged', `the record says that something is missing: ${walked.gap}`)
  if (!trust.given) return report('consistent, signer not checked', `signed by ${[...used].join(', ')}: compare it, or give the public key`)
  return report('whole', `${walked.walker.seq} events, chain, signatures, manifest and ledger agree`)
}

function objectOf(walked: Walked, seq: number, folder: string): { object?: string } {
  const part = walked.parts.find((p) => p.firstSeq <= seq && (p.lastSeq >= seq || p.lastSeq === 0))
  return part ? { object: folder + part.name } : {}
}

async function walkParts(store: EvidenceReader, parts: Awaited<ReturnType<typeof listFolder>>['parts'], walked: Walked, signed: SignatureCheck): Promise<void> {
  const { walker } = walked
  let number = 1
  for (const part of parts) {
    if (part.number !== number)
      throw new EvidenceError(
        part.key,
        part.number > number ? `part ${number} is missing: events from ${walker.seq + 1} on` : `there are two parts ${part.number}`,
      )
    number++
    const entry: PartEntry = { name: part.name, firstSeq: walker.seq + 1, lastSeq: 0, bytes: part.bytes }
    walked.parts.push(entry)
    for await (const lines of readPart(store, part)) for (const bytes of lines) takeLine(walked, bytes, signed)
    entry.lastSeq = walker.seq
    if (entry.lastSeq < entry.firstSeq) throw new EvidenceError(part.key, 'the part is empty')
  }
}

function takeLine(walked: Walked, bytes: Buffer, signed: SignatureCheck): void {
  const { walker } = walked
  const { line, headBefore } = walker.next(bytes)
  if (walked.ended && (line.kind !== 'checkpoint' || walked.lastIsCheckpoint))
    throw new AlteredError(line.seq, `event ${line.seq} follows the end of the session`)
  if (line.seq === 1 && line.kind === 'session.started') walked.started = ledgerNumber(line)
  else if (line.seq === 1 && line.kind !== 'gap') throw new AlteredError(1, `the session begins with ${line.kind}`)
  walked.lastIsCheckpoint = line.kind === 'checkpoint'
  if (line.kind === 'checkpoint') {
    checkCheckpoint(line, walker.id, headBefore, walked.lastCheckpoint, signed)
    walked.lastCheckpoint = line.seq - 1
  }
  if (line.kind === 'gap') walked.gap ??= `event ${line.seq}: ${String(line.reason)}`
  if (line.kind === 'session.ended') walked.ended = true
  collectBlobs(line, walked.blobs)
}

function ledgerNumber(line: Line): { spool: string; n: number } {
  const ledger = line.ledger
  if (typeof ledger === 'object' && ledger !== null && 'spool' in ledger && 'n' in ledger && typeof ledger.spool === 'string' && typeof ledger.n === 'number')
    return { spool: ledger.spool, n: ledger.n }
  throw new AlteredError(1, 'the session does not say its number in the ledger')
}

function checkCheckpoint(line: Line, session: string, headBefore: string, lastCheckpoint: number, signed: SignatureCheck): void {
  const { mode, through, head, adoptedFrom } = line
  const since = `events ${lastCheckpoint + 1} to ${line.seq - 1}`
  if (through !== line.seq - 1 || (mode !== 'live' && mode !== 'adopted') || adoptedFrom !== (mode === 'adopted' ? lastCheckpoint + 1 : undefined))
    throw new AlteredError(line.seq, `the checkpoint at ${line.seq} is malformed`)
  const text = checkpointText({ session, through, head: headBefore, mode, adoptedFrom: mode === 'adopted' ? lastCheckpoint + 1 : undefined })
  if (head !== headBefore) throw new AlteredError(lastCheckpoint + 1, `${since} are not those that checkpoint ${line.seq} speaks of`)
  const verdict = signed(line.key, text, line.sig)
  if (verdict === 'unknown key')
    throw new AlteredError(lastCheckpoint + 1, `checkpoint ${line.seq}, over ${since}, is signed by a key that is not trusted: ${String(line.key)}`)
  if (verdict === 'wrong')
    throw new AlteredError(lastCheckpoint + 1, `the signature of checkpoint ${line.seq} does not hold: ${since} are not those that were signed`)
}

/** Attributes that end in `.blob` name a blob of the session. */
function collectBlobs(line: Line, blobs: Set<string>): void {
  const { attributes } = line
  if (typeof attributes !== 'object' || attributes === null) return
  for (const [name, value] of Object.entries(attributes)) if (name.endsWith('.blob') && typeof value === 'string') blobs.add(value)
}

async function checkBlobs(store: EvidenceReader, folder: string, others: string[], walked: Walked): Promise<void> {
  const present = new Set<string>()
  for (const name of others) {
    if (name === manifestName) continue
    if (!name.startsWith('blobs/')) throw new EvidenceError(folder + name, 'the object does not belong to a session')
    present.add(name.slice('blobs/'.length))
  }
  for (const sha256 of present) {
    const key = folder + blobName(sha256)
    if (sha256Hex((await store.read(key)) ?? Buffer.alloc(0)) !== sha256) throw new EvidenceError(key, 'the blob is not the one that its name was made from')
    // A blob is stored before the events that name it: only an ended session can have one too many.
    if (!walked.blobs.has(sha256) && walked.ended) throw new EvidenceError(key, 'no event names this blob')
  }
  for (const sha256 of walked.blobs) if (!present.has(sha256)) throw new EvidenceError(folder + blobName(sha256), 'the blob is missing')
}

async function checkManifest(store: EvidenceReader, key: string, walked: Walked, trust: Trust, used: Set<string>): Promise<true> {
  const wrong = (message: string) => new EvidenceError(key, message)
  let opened: ReturnType<typeof openManifest>
  try {
    opened = openManifest((await store.read(key)) ?? Buffer.alloc(0))
  } catch (error) {
    throw wrong(`the manifest is malformed: ${error instanceof Error ? error.message : String(error)}`)
  }
  const publicKey = trust.keys.get(opened.keyId)
  if (!publicKey) throw wrong(`the manifest is signed by a key that is not trusted: ${opened.keyId}`)
  used.add(opened.keyId)
  if (!opened.signedBy(publicKey)) throw wrong('the signature of the manifest does not hold')
  const { manifest } = opened
  const { walker } = walked
  if (manifest.session !== walker.id) throw wrong('the manifest belongs to another session')
  for (const [i, part] of manifest.parts.entries()) {
    const here = walked.parts[i]
    if (!here) throw new AlteredError(part.firstSeq, `part ${part.name} is missing: events ${part.firstSeq} to ${part.lastSeq}`)
    if (here.name !== part.name || here.firstSeq !== part.firstSeq || here.lastSeq !== part.lastSeq || here.bytes !== part.bytes)
      throw new AlteredError(part.firstSeq, `part ${i + 1} is not the one in the manifest`)
  }
  if (walked.parts.length > manifest.parts.length) throw wrong('there are parts that the manifest does not name')
  if (!walked.ended || !walked.lastIsCheckpoint)
    throw new AlteredError(walker.seq + 1, 'there is a manifest, and the session does not end with session.ended and a checkpoint')
  const blobs = [...walked.blobs].sort().join()
  if ([...manifest.blobs].sort().join() !== blobs) throw wrong('the manifest names other blobs than the events do')
  if (manifest.events !== walker.seq || manifest.head !== walker.head)
    throw wrong(`the manifest speaks of ${manifest.events} events ending in ${manifest.head}`)
  if (walked.started && (manifest.ledger.spool !== walked.started.spool || manifest.ledger.n !== walked.started.n))
    throw wrong('the manifest names another place in the ledger')
  walked.started ??= manifest.ledger
  return true
}

/** What is missing for the session and its ledger entry to agree; undefined where they do. @throws where they contradict each other. */
async function checkLedger(
  walked: Walked,
  hasManifest: boolean,
  location: SessionLocation,
  ledgerOf: (spool: string) => Promise<Ledger | undefined>,
): Promise<string | undefined> {
  if (!walked.started) return walked.walker.seq === 0 ? 'there is no event' : 'its first event and its manifest are not here, so that its ledger is not known'
  const { spool, n } = walked.started
  const ledger = await ledgerOf(spool)
  if (!ledger || ledger.namespace !== location.namespace) return `the ledger of ${spool} is not here`
  if (ledger.problem) throw new EvidenceError(ledger.problem.object ?? ledger.folder, `the ledger is altered: ${ledger.problem.message}`)
  const entry = ledger.sessions.get(location.session)
  if (!entry) {
    if (n > ledger.lastN) return `the ledger ends at session number ${ledger.lastN}, before this one (${n}): not stored yet, or cut`
    if (ledger.lost.length > 0) return undefined
    throw new EvidenceError(ledger.folder, `the ledger has another session at number ${n}`)
  }
  if (entry.n !== n) throw new EvidenceError(ledger.folder, `the ledger knows this session as number ${entry.n}, not ${n}`)
  if (!entry.closed) return hasManifest && ledger.lost.length === 0 ? 'the ledger has no close of it: not stored yet, or cut' : undefined
  const { events, head } = entry.closed
  if (walked.walker.seq < events)
    throw new AlteredError(walked.walker.seq + 1, `events ${walked.walker.seq + 1} to ${events} are missing: the ledger closed the session with ${events}`)
  if (walked.walker.seq !== events || walked.walker.head !== head)
    throw new AlteredError(events, `the session is not the one that the ledger closed, with ${events} events`)
  if (!hasManifest) throw new EvidenceError(location.folder + manifestName, 'the manifest is missing: the ledger says that the session is closed')
  return undefined
}
