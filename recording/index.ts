export { chainNext, chainStart, sha256Hex, type ChainKind } from './chain.ts'
export { DirectoryStore } from './directory-store.ts'
export type * from './event.generated.ts'
export { generateSigningKeyPem, keyId, parsePublicKeyObject, publicKeyObject, publicKeysFromPem, signatureHolds, signerFromPem, type Signer } from './keys.ts'
export {
  blobName,
  indexName,
  keyObjectName,
  ledgerFolder,
  locateSession,
  manifestName,
  MAX_LINE_BYTES,
  partName,
  sessionFolder,
  uuidText,
  uuidTime,
  type SessionLocation,
} from './layout.ts'
export { LogWriter, timestamp, type LineSink, type LogPosition } from './log-writer.ts'
export { sealManifest, type Manifest, type PartEntry } from './manifest.ts'
export { readEvents } from './read-events.ts'
export { countersignatureText } from './signed-text.ts'
export type { EvidenceReader, EvidenceWriter, StoredObject } from './store.ts'
export { foldEvent, newSummary, type SessionSummary } from './summary.ts'
export { trustFound, trustGiven, type Trust } from './trust.ts'
export { findSessions, verifyEvidence, type Findings, type VerifyOptions } from './verify.ts'
export type { SessionReport, Verdict } from './verify-session.ts'
