// How far the spool has been turned into evidence, and the objects that wait to be stored: one SQLite file beside the
// segments, so that a cut of parts, the bytes of them and the place in the spool change together or not at all.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { v4 as uuidv4 } from 'uuid'
import { chainStart, newSummary, type ChainKind, type PartEntry, type SessionSummary } from '@agentaccess/recording'

/** What the state knows of one session or ledger: everything up to the cursor is folded in. */
export interface LogState {
  id: string
  kind: ChainKind
  seq: number
  head: Buffer
  /** Of a ledger: the last session number and the last signed line. */
  lastN: number
  summary: SessionSummary
  ledgerN: number
  /** Of a session; a ledger, which never ends, only counts. */
  parts: PartEntry[]
  partCount: number
  /** Bytes of lines that are in no part yet. */
  pendingBytes: number
  /** The last sequence number that is in a part. */
  cutThrough: number
  blobs: string[]
  /** How many of them are queued already. */
  blobsCut: number
  /** `session.ended` is there. */
  ending: 'ended' | 'interrupted' | undefined
  /** And the checkpoint behind it. */
  ended: 'ended' | 'interrupted' | undefined
  /** And the ledger says so. */
  closed: boolean
  /** Of a ledger: the signed head that its last part ends with, `<ledger>:<seq>:<hash>`. */
  signedHead?: string | undefined
  lastCutMs: number
  intervalMs: number
}

export type Signal = 'traces' | 'logs'

export interface Cursor {
  segment: number
  offset: number
}

export interface QueuedObject {
  ord: number
  key: string
  body: Buffer
  access: string
  raw: number
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS logs (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, head BLOB NOT NULL, state TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS pending (ord INTEGER PRIMARY KEY, log TEXT NOT NULL, lines BLOB NOT NULL, signed INTEGER NOT NULL) STRICT;
  CREATE INDEX IF NOT EXISTS pending_log ON pending (log, ord);
  CREATE TABLE IF NOT EXISTS objects (ord INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, body BLOB NOT NULL, access TEXT NOT NULL, raw INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS traces (session TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS exports (ord INTEGER PRIMARY KEY AUTOINCREMENT, signal TEXT NOT NULL, body BLOB NOT NULL, count INTEGER NOT NULL) STRICT;
`

export function newLog(kind: ChainKind, id: string, namespace: string): LogState {
  return {
    id,
    kind,
    seq: 0,
    head: chainStart(kind, id),
    lastN: 0,
    summary: newSummary(id, namespace),
    ledgerN: 0,
    parts: [],
    partCount: 0,
    pendingBytes: 0,
    cutThrough: 0,
    blobs: [],
    blobsCut: 0,
    ending: undefined,
    ended: undefined,
    closed: false,
    lastCutMs: 0,
    intervalMs: 0,
  }
}

export class ShipState {
  readonly #db: DatabaseSync
  /** What was read or saved: this process is the only one that changes it. */
  readonly #logs = new Map<string, LogState>()
  readonly #statements: Record<
    | 'waits'
    | 'trace'
    | 'saveTrace'
    | 'dropTrace'
    | 'queueExport'
    | 'nextExport'
    | 'exported'
    | 'log'
    | 'saveLog'
    | 'dropLog'
    | 'logs'
    | 'addPending'
    | 'pending'
    | 'dropPending'
    | 'queue'
    | 'objects'
    | 'dropObject'
    | 'get'
    | 'set',
    ReturnType<DatabaseSync['prepare']>
  >

  constructor(spoolFolder: string) {
    mkdirSync(spoolFolder, { recursive: true, mode: 0o700 })
    this.#db = new DatabaseSync(join(spoolFolder, 'state.db'))
    this.#db.exec(SCHEMA)
    const prepare = (sql: string) => this.#db.prepare(sql)
    this.#statements = {
      log: prepare('SELECT seq, head, state FROM logs WHERE id = ?'),
      saveLog: prepare(
        'INSERT INTO logs (id, seq, head, state) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, head = excluded.head, state = excluded.state',
      ),
      dropLog: prepare('DELETE FROM logs WHERE id = ?'),
      logs: prepare('SELECT id FROM logs ORDER BY id'),
      addPending: prepare('INSERT INTO pending (log, lines, signed) VALUES (?, ?, ?)'),
      pending: prepare('SELECT ord, lines, signed FROM pending WHERE log = ? ORDER BY ord'),
      dropPending: prepare('DELETE FROM pending WHERE log = ? AND ord <= ?'),
      queue: prepare('INSERT INTO objects (key, body, access, raw) VALUES (?, ?, ?, ?)'),
      objects: prepare('SELECT ord, key, body, access, raw FROM objects ORDER BY ord LIMIT 32'),
      dropObject: prepare('DELETE FROM objects WHERE ord = ?'),
      waits: prepare('SELECT EXISTS (SELECT 1 FROM pending) OR EXISTS (SELECT 1 FROM objects) AS waits'),
      trace: prepare('SELECT state FROM traces WHERE session = ?'),
      saveTrace: prepare('INSERT INTO traces (session, state) VALUES (?, ?) ON CONFLICT (session) DO UPDATE SET state = excluded.state'),
      dropTrace: prepare('DELETE FROM traces WHERE session = ?'),
      queueExport: prepare('INSERT INTO exports (signal, body, count) VALUES (?, ?, ?)'),
      nextExport: prepare('SELECT ord, signal, body, count FROM exports ORDER BY ord LIMIT 1'),
      exported: prepare('DELETE FROM exports WHERE ord = ?'),
      get: prepare('SELECT value FROM meta WHERE name = ?'),
      set: prepare('INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value'),
    }
  }

  /** Runs `change` as one transaction. */
  transaction<T>(change: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      const result = change()
      this.#db.exec('COMMIT')
      return result
    } catch (error) {
      this.#db.exec('ROLLBACK')
      this.#logs.clear()
      throw error
    }
  }

  /** The spool's own UUID, made on first use: the name of its ledger. */
  spoolId(): string {
    const known = this.#get('spool')
    if (known !== undefined) return known
    const id = uuidv4()
    this.#statements.set.run('spool', id)
    return id
  }

  get cursor(): Cursor {
    const value = this.#get('cursor')
    if (value === undefined) return { segment: 0, offset: 0 }
    const [segment, offset] = value.split(':').map(Number)
    return { segment: segment!, offset: offset! }
  }

  set cursor({ segment, offset }: Cursor) {
    this.#statements.set.run('cursor', `${segment}:${offset}`)
  }

  log(id: string): LogState | undefined {
    const known = this.#logs.get(id)
    if (known) return known
    const row = this.#statements.log.get(id)
    if (!row) return undefined
    const state = JSON.parse(row.state as string) as Omit<LogState, 'seq' | 'head'>
    const log = { ...state, seq: row.seq as number, head: Buffer.from(row.head as Uint8Array) }
    this.#logs.set(id, log)
    return log
  }

  logIds(): string[] {
    return this.#statements.logs.all().map((row) => row.id as string)
  }

  saveLog(log: LogState): void {
    this.#logs.set(log.id, log)
    const { seq, head, ...state } = log
    this.#statements.saveLog.run(state.id, seq, head, JSON.stringify(state))
  }

  dropLog(id: string): void {
    this.#logs.delete(id)
    this.#statements.dropLog.run(id)
  }

  /** `signed`: the last of these lines is the signed head of a ledger. */
  addPending(log: string, lines: Buffer, signed: boolean): void {
    this.#statements.addPending.run(log, lines, signed ? 1 : 0)
  }

  /** Removes and returns what is pending; with `upToSigned`, only up to the last signed head. */
  takePending(log: string, upToSigned = false): Buffer {
    const rows = this.#statements.pending.all(log)
    const end = upToSigned ? rows.findLastIndex((row) => row.signed === 1) + 1 : rows.length
    const taken = rows.slice(0, end)
    if (taken.length > 0) this.#statements.dropPending.run(log, taken.at(-1)!.ord as number)
    return Buffer.concat(taken.map((row) => row.lines as Uint8Array))
  }

  /** Fixes an object's bytes before its first put. */
  queue(key: string, body: Buffer, access = '', raw = 0): void {
    this.#statements.queue.run(key, body, access, raw)
  }

  queued(): QueuedObject[] {
    return this.#statements.objects.all().map((row) => ({
      ord: row.ord as number,
      key: row.key as string,
      body: Buffer.from(row.body as Uint8Array),
      access: row.access as string,
      raw: row.raw as number,
    }))
  }

  stored(ord: number): void {
    this.#statements.dropObject.run(ord)
  }

  /** Nothing that was read of the spool waits. */
  settled(): boolean {
    return this.#statements.waits.get()!.waits === 0
  }

  /** What is known of a session's trace; undefined where it has none, or has ended. */
  trace(session: string): unknown {
    const row = this.#statements.trace.get(session)
    return row && (JSON.parse(row.state as string) as unknown)
  }

  saveTrace(session: string, state: object | undefined): void {
    if (state) this.#statements.saveTrace.run(session, JSON.stringify(state))
    else this.#statements.dropTrace.run(session)
  }

  /** A request to the collector, of so many spans or logs. */
  queueExport(signal: Signal, body: Buffer, count: number): void {
    this.#statements.queueExport.run(signal, body, count)
  }

  nextExport(): { ord: number; signal: Signal; body: Buffer; count: number } | undefined {
    const row = this.#statements.nextExport.get()
    return row && { ord: row.ord as number, signal: row.signal as Signal, body: Buffer.from(row.body as Uint8Array), count: row.count as number }
  }

  exported(ord: number): void {
    this.#statements.exported.run(ord)
  }

  /** Bytes of the spool that wait to be stored, by access: what is cut, and what is pending. */
  usage(): Map<string, number> {
    const usage = new Map<string, number>()
    const add = (access: string, bytes: number) => usage.set(access, (usage.get(access) ?? 0) + bytes)
    for (const row of this.#db.prepare('SELECT access, sum(raw) AS raw FROM objects GROUP BY access').all()) add(row.access as string, row.raw as number)
    for (const row of this.#db.prepare('SELECT log, sum(length(lines)) AS raw FROM pending GROUP BY log').all())
      add(this.log(row.log as string)?.summary.access ?? '', row.raw as number)
    usage.delete('')
    return usage
  }

  close(): void {
    this.#db.close()
  }

  #get(name: string): string | undefined {
    return this.#statements.get.get(name)?.value as string | undefined
  }
}
