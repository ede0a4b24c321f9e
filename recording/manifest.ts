// The manifest of an ended session: a DSSE envelope (https://github.com/secure-systems-lab/dsse), docs/recording-format.md, "Manifest".
import { signatureHolds, type Signer } from './keys.ts'
import type { KeyObject } from 'node:crypto'

const MANIFEST_TYPE = 'application/vnd.agentaccess.manifest.v1+json'

export interface PartEntry {
  name: string
  firstSeq: number
  lastSeq: number
  /** Of the compressed object. */
  bytes: number
}

export interface Manifest {
  session: string
  ledger: { spool: string; n: number }
  parts: PartEntry[]
  blobs: string[]
  events: number
  head: string
  state: 'ended' | 'interrupted'
}

/** DSSE's pre-authentication encoding: what is signed. */
function preAuthEncoding(type: string, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload])
}

export function sealManifest(manifest: Manifest, signer: Signer): Buffer {
  const payload = Buffer.from(JSON.stringify(manifest))
  const sig = signer.sign(preAuthEncoding(MANIFEST_TYPE, payload))
  return Buffer.from(`${JSON.stringify({ payloadType: MANIFEST_TYPE, payload: payload.toString('base64'), signatures: [{ keyid: signer.keyId, sig }] })}\n`)
}

export interface OpenedManifest {
  manifest: Manifest
  keyId: string
  /** Whether the signature holds under a given key. */
  signedBy(publicKey: KeyObject): boolean
}

/** Decodes an envelope without judging its signature. @throws where it is malformed, with what is wrong. */
export function openManifest(bytes: Buffer): OpenedManifest {
  const envelope = record(JSON.parse(bytes.toString('utf8')), 'the envelope')
  // The envelope is not chained: only one spelling of it counts as unaltered.
  const [signature] = array(envelope.signatures, 'signatures')
  const { keyid, sig } = record(signature, 'signatures[0]')
  if (envelope.payloadType !== MANIFEST_TYPE) throw new Error(`payloadType is ${JSON.stringify(envelope.payloadType)}, expected ${MANIFEST_TYPE}`)
  const payload = Buffer.from(string(envelope.payload, 'payload'), 'base64')
  const canonical = `${JSON.stringify({ payloadType: MANIFEST_TYPE, payload: payload.toString('base64'), signatures: [{ keyid, sig }] })}\n`
  if (canonical !== bytes.toString('utf8')) throw new Error('the envelope is not written as this format writes it')
  const body = record(JSON.parse(payload.toString('utf8')), 'the payload')
  const ledger = record(body.ledger, 'ledger')
  const manifest: Manifest = {
    session: string(body.session, 'session'),
    ledger: { spool: string(ledger.spool, 'ledger.spool'), n: integer(ledger.n, 'ledger.n') },
    parts: array(body.parts, 'parts').map((part, i) => {
      const p = record(part, `parts[${i}]`)
      return {
        name: string(p.name, 'name'),
        firstSeq: integer(p.firstSeq, 'firstSeq'),
        lastSeq: integer(p.lastSeq, 'lastSeq'),
        bytes: integer(p.bytes, 'bytes'),
      }
    }),
    blobs: array(body.blobs, 'blobs').map((blob) => string(blob, 'blobs[]')),
    events: integer(body.events, 'events'),
    head: string(body.head, 'head'),
    state: body.state === 'ended' || body.state === 'interrupted' ? body.state : fail('state'),
  }
  const pae = preAuthEncoding(MANIFEST_TYPE, payload)
  const signatureText = string(sig, 'sig')
  return { manifest, keyId: string(keyid, 'keyid'), signedBy: (key) => signatureHolds(key, pae, signatureText) }
}

function fail(what: string): never {
  throw new Error(`${what} is missing or malformed`)
}

function record(value: unknown, what: string): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : fail(what)
}

const array = (value: unknown, what: string): unknown[] => (Array.isArray(value) ? value : fail(what))
const string = (value: unknown, what: string): string => (typeof value === 'string' ? value : fail(what))
const integer = (value: unknown, what: string): number => (Number.isSafeInteger(value) ? (value as number) : fail(what))
