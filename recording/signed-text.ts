// What exactly is signed. Each value stands on a line of its own, every line ends with LF: docs/recording-format.md, "Signatures".

export interface CheckpointClaim {
  session: string
  through: number
  head: string
  mode: 'live' | 'adopted'
  adoptedFrom?: number | undefined
}

const lines = (...values: (string | number)[]) => `${values.join('\n')}\n`

/** `adoptedFrom` is an empty line in a live checkpoint. */
export function checkpointText(claim: CheckpointClaim): string {
  return lines('agentaccess/checkpoint/1', claim.session, claim.through, claim.head, claim.mode, claim.adoptedFrom ?? '')
}

export interface GapClaim {
  /** Session or ledger id. */
  log: string
  seq: number
  through: number
  before: string
  chain: string
}

export function gapText(claim: GapClaim): string {
  return lines('agentaccess/gap/1', claim.log, claim.seq, claim.through, claim.before, claim.chain)
}

/** By the operator, of a ledger head (`<ledger>:<seq>:<hash>`) that was stored at that time. */
export function countersignatureText(claim: { head: string; time: string }): string {
  return lines('agentaccess/countersignature/1', claim.head, claim.time)
}

export interface LedgerHeadClaim {
  ledger: string
  through: number
  n: number
  head: string
}

export function ledgerHeadText(claim: LedgerHeadClaim): string {
  return lines('agentaccess/ledger-head/1', claim.ledger, claim.through, claim.n, claim.head)
}
