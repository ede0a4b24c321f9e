// Names of objects in the evidence: docs/recording-format.md, "Objects".

export const MAX_LINE_BYTES = 256 * 1024

/** Milliseconds since the epoch that a UUIDv7 carries (RFC 9562, section 5.7). */
export function uuidTime(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

/** 32 hex digits with the hyphens of RFC 9562, section 4. */
export function uuidText(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** `sessions/<yyyy>/<mm>/<dd>/<namespace>/<session-id>/`: the UTC day on which it began. */
export function sessionFolder(namespace: string, session: string): string {
  const [year, month, day] = new Date(uuidTime(session)).toISOString().slice(0, 10).split('-')
  return `sessions/${year}/${month}/${day}/${namespace}/${session}/`
}

export function partName(number: number, sha256: string): string {
  return `${String(number).padStart(5, '0')}-${sha256}.jsonl.zst`
}

export function parsePartName(name: string): { number: number; sha256: string } | undefined {
  const match = /^(\d{5,})-([0-9a-f]{64})\.jsonl\.zst$/.exec(name)
  if (!match) return undefined
  const number = Number(match[1])
  return partName(number, match[2]!) === name && number >= 1 ? { number, sha256: match[2]! } : undefined
}

export const blobName = (sha256: string) => `blobs/${sha256}`
export const manifestName = 'manifest.json'
export const ledgerFolder = (namespace: string, spool: string) => `ledger/${namespace}/${spool}/`
export const keyObjectName = (id: string) => `keys/${id}.json`

/** `index/<yyyy>/<mm>/<dd>/<namespace>/<session-id>.json`: rebuildable, never trusted over the rest. */
export function indexName(namespace: string, session: string): string {
  return `${sessionFolder(namespace, session)
    .replace(/^sessions/, 'index')
    .slice(0, -1)}.json`
}

export interface SessionLocation {
  namespace: string
  session: string
  folder: string
}

/** The session that an object belongs to; undefined where the key is not of a session. */
export function locateSession(key: string): SessionLocation | undefined {
  const match = /^(sessions\/\d{4}\/\d\d\/\d\d\/([^/]+)\/([0-9a-f-]{36})\/)/.exec(key)
  return match ? { folder: match[1]!, namespace: match[2]!, session: match[3]! } : undefined
}

export function locateLedger(key: string): { namespace: string; spool: string; folder: string } | undefined {
  const match = /^(ledger\/([^/]+)\/([0-9a-f-]{36})\/)/.exec(key)
  return match ? { folder: match[1]!, namespace: match[2]!, spool: match[3]! } : undefined
}
