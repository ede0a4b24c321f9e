// The keys that sessions gave to their clients. A CancelRequest comes over a connection of its own and has nothing but such
// a key: it reaches the backend of that session, and no other's.
import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { PostgresTarget } from '../../config.ts'
import type { Session } from '../../session.ts'
import { message } from './wire.ts'

const SECRET_BYTES = 4
/** The first bits of a secret say which proxy made it; the others can't be guessed. */
const ORDINAL_BITS = 5
const ORDINAL_SHIFT = 8 - ORDINAL_BITS

/** Which of the proxies made this secret. */
export const ordinalOf = (secret: Buffer): number => (secret[0] ?? 0) >> ORDINAL_SHIFT

export interface Cancellable {
  session: Session
  /** Where it runs: the access may have another target by now. */
  target: PostgresTarget
  /** The key that the target gave to the proxy. */
  processId: number
  secret: Buffer
}

interface Entry extends Cancellable {
  ours: Buffer
}

export class CancelKeys {
  readonly #entries = new Map<number, Entry[]>()

  /** Makes a key. Returns BackendKeyData for the client, and what forgets the key. The process id is the target's, as an agent may ask for it in SQL. */
  add(cancellable: Cancellable, ordinal = 0): { backendKeyData: Buffer; remove: () => void } {
    const ours = randomBytes(SECRET_BYTES)
    ours[0] = ((ordinal << ORDINAL_SHIFT) & 0xff) | (ours[0]! & ((1 << ORDINAL_SHIFT) - 1))
    const entry: Entry = { ...cancellable, ours }
    const { processId } = cancellable
    this.#entries.set(processId, [...(this.#entries.get(processId) ?? []), entry])
    const body = Buffer.alloc(4 + SECRET_BYTES)
    body.writeUInt32BE(processId, 0)
    ours.copy(body, 4)
    return {
      backendKeyData: message('K', body),
      remove: () => {
        const left = (this.#entries.get(processId) ?? []).filter((other) => other !== entry)
        if (left.length > 0) this.#entries.set(processId, left)
        else this.#entries.delete(processId)
      },
    }
  }

  find(processId: number, secret: Buffer): Cancellable | undefined {
    return this.#entries.get(processId)?.find(({ ours }) => ours.length === secret.length && timingSafeEqual(ours, secret))
  }
}
