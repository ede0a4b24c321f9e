// Whose signatures count. Keys given from outside are trusted; keys found beside the evidence only show that it is consistent.
import type { KeyObject } from 'node:crypto'
import { parsePublicKeyObject, signatureHolds } from './keys.ts'
import type { SignatureCheck } from './log-walker.ts'
import type { EvidenceReader } from './store.ts'

export interface Trust {
  keys: ReadonlyMap<string, KeyObject>
  /** Whether the keys came from outside the evidence. */
  given: boolean
}

export function trustGiven(keys: ReadonlyMap<string, KeyObject>): Trust {
  return { keys, given: true }
}

/** The keys that lie beside the evidence. One that is malformed is left out: what it signed is then of an unknown key. */
export async function trustFound(store: EvidenceReader): Promise<Trust> {
  const keys = new Map<string, KeyObject>()
  for await (const { key } of store.list('keys/')) {
    try {
      const { id, key: publicKey } = parsePublicKeyObject(((await store.read(key)) ?? Buffer.alloc(0)).toString('utf8'))
      keys.set(id, publicKey)
    } catch {
      continue
    }
  }
  return { keys, given: false }
}

export function signatureCheck(trust: Trust, used: Set<string>): SignatureCheck {
  return (key, text, signature) => {
    if (typeof key !== 'string' || typeof signature !== 'string') return 'wrong'
    const publicKey = trust.keys.get(key)
    if (!publicKey) return 'unknown key'
    used.add(key)
    return signatureHolds(publicKey, text, signature) ? 'holds' : 'wrong'
  }
}
