// Ed25519 keys and what they sign: docs/recording-format.md, "Keys" and "Signatures".
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto'
import { sha256Hex } from './chain.ts'

/** Hex SHA-256 of the public key's SubjectPublicKeyInfo DER. */
export function keyId(publicKey: KeyObject): string {
  return sha256Hex(publicKey.export({ type: 'spki', format: 'der' }))
}

export interface Signer {
  readonly keyId: string
  readonly publicKey: KeyObject
  /** The private key as PKCS #8 PEM, to hand to a thread of this process. */
  readonly privatePem: string
  /** Ed25519 over the text's UTF-8 bytes, base64. */
  sign(text: string | Uint8Array): string
}

/** @throws where the PEM is not an Ed25519 private key. */
export function signerFromPem(pem: string): Signer {
  const privateKey = createPrivateKey(pem)
  if (privateKey.asymmetricKeyType !== 'ed25519') {
    throw new Error(`the signing key is ${privateKey.asymmetricKeyType ?? 'of an unknown type'}, and must be Ed25519 (openssl genpkey -algorithm ed25519)`)
  }
  const publicKey = createPublicKey(privateKey)
  return {
    keyId: keyId(publicKey),
    publicKey,
    privatePem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    sign: (text) => sign(null, typeof text === 'string' ? Buffer.from(text) : text, privateKey).toString('base64'),
  }
}

export function generateSigningKeyPem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

/** Every public key of a PEM file, by key id. @throws where the file holds none, or one that is not Ed25519. */
export function publicKeysFromPem(pem: string): Map<string, KeyObject> {
  const keys = new Map<string, KeyObject>()
  for (const block of pem.match(/-----BEGIN PUBLIC KEY-----[\s\S]*?-----END PUBLIC KEY-----/g) ?? []) {
    const key = createPublicKey(block)
    if (key.asymmetricKeyType !== 'ed25519') throw new Error('a public key in the file is not Ed25519')
    keys.set(keyId(key), key)
  }
  if (keys.size === 0) throw new Error('the file holds no PEM public key')
  return keys
}

export function signatureHolds(publicKey: KeyObject, text: string | Uint8Array, signature: string): boolean {
  const bytes = Buffer.from(signature, 'base64')
  // One signature has one spelling: base64 that decodes to the same bytes is still an altered line.
  if (bytes.length !== 64 || bytes.toString('base64') !== signature) return false
  return verify(null, typeof text === 'string' ? Buffer.from(text) : text, publicKey, bytes)
}

/** The object `keys/<key id>.json`. */
export function publicKeyObject(publicKey: KeyObject): string {
  return `${JSON.stringify({ key: keyId(publicKey), algorithm: 'Ed25519', spki: publicKey.export({ type: 'spki', format: 'der' }).toString('base64') })}\n`
}

/** Reads `keys/<key id>.json`. @throws where it is malformed or its content does not have the id it claims. */
export function parsePublicKeyObject(text: string): { id: string; key: KeyObject } {
  const parsed: unknown = JSON.parse(text)
  const spki = typeof parsed === 'object' && parsed !== null && 'spki' in parsed ? parsed.spki : undefined
  if (typeof spki !== 'string') throw new Error('no "spki"')
  const key = createPublicKey({ key: Buffer.from(spki, 'base64'), type: 'spki', format: 'der' })
  const id = keyId(key)
  if (!('key' in (parsed as object)) || (parsed as { key: unknown }).key !== id) throw new Error('the key has another id than the object says')
  return { id, key }
}
