// The hash chain of a session or a ledger: docs/recording-format.md, "Chain".
import { hash } from 'node:crypto'

export type ChainKind = 'session' | 'ledger'

/** h₀: the value that the first line of a session or ledger is chained to. 32 bytes. */
export function chainStart(kind: ChainKind, id: string): Buffer {
  return hash('sha256', `agentaccess/${kind}/1\n${id}`, 'buffer')
}

/** hₙ = SHA-256(hₙ₋₁ ‖ line without its LF). `line` is the stored bytes. */
export function chainNext(previous: Buffer, line: Uint8Array): Buffer {
  const input = Buffer.allocUnsafe(previous.length + line.length)
  previous.copy(input)
  input.set(line, previous.length)
  return hash('sha256', input, 'buffer')
}

export function sha256Hex(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex')
}
