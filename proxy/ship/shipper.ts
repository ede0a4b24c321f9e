// Turns the spool into evidence, again and again. It only reads the spool: the agent waits for nothing that happens here.
import type { EvidenceWriter, Signer } from '@agentaccess/recording'
import { keyObjectName, publicKeyObject } from '@agentaccess/recording'
import { cutParts } from './cut.ts'
import type { ExportReport } from './otlp/sender.ts'
import type { Exports } from './otlp/exports.ts'
import type { Retention } from './retention.ts'
import type { ShipState } from './ship-state.ts'

/** With the first interval of a part, this keeps the copy of a running session at most 2 s behind. */
const IDLE_MS = 900
const FIRST_BACKOFF_MS = 1000
const LAST_BACKOFF_MS = 30_000

export type ShipReport =
  | { kind: 'stored'; access: string; bytes: number }
  /** `first`: until now it was well. */
  | { kind: 'failing'; message: string; first: boolean }
  /** For the first time, or again. */
  | { kind: 'storing' }
  | ExportReport
  /** The ledger is stored up to this signed head. */
  | { kind: 'ledger'; head: string }
  /** What was in the spool at that time is stored. */
  | { kind: 'settled'; at: number }
  /** Nothing is left to store. */
  | { kind: 'drained' }

export interface ShipperOptions {
  state: ShipState
  store: EvidenceWriter
  signer: Signer
  folder: string
  namespace: string
  report: (report: ShipReport) => void
  retention?: Retention
  exports?: Exports | undefined
}

export class Shipper {
  readonly #options: ShipperOptions
  #stopping = false
  #backoffMs = 0
  #wake: (() => void) | undefined
  #keyStored = false
  #storing = false
  #ledgerHead: string | undefined

  constructor(options: ShipperOptions) {
    this.#options = options
  }

  /** Runs until `drain` has been called and everything is stored. */
  async run(): Promise<void> {
    const { state, folder, namespace, signer, exports } = this.#options
    for (;;) {
      const all = this.#stopping
      const stored = await this.#step(() => {
        while (cutParts(state, Date.now(), { folder, namespace, signer, exports, all })) {
          // Until the end of the spool: each reads a bounded piece.
        }
      })
      if (stored && all) return
      await this.#pause(stored ? IDLE_MS : this.#backoffMs)
    }
  }

  /** Nothing more is written to the spool: store what is there, then end. */
  drain(): void {
    this.#stopping = true
    this.#wake?.()
  }

  /** Cuts, then puts what is queued, in order. False where either failed: then everything is still there. */
  async #step(cut: () => void): Promise<boolean> {
    const { state, store, signer, report, retention } = this.#options
    const at = Date.now()
    try {
      cut()
      if (!this.#keyStored) {
        const name = keyObjectName(signer.keyId)
        await store.put(name, Buffer.from(publicKeyObject(signer.publicKey)), retention?.until(name, ''))
        this.#keyStored = true
      }
      for (let objects = state.queued(); objects.length > 0; objects = state.queued()) {
        for (const { ord, key, body, access, raw } of objects) {
          await store.put(key, body, retention?.until(key, access))
          state.stored(ord)
          if (raw > 0) report({ kind: 'stored', access, bytes: raw })
        }
      }
    } catch (error) {
      report({ kind: 'failing', message: error instanceof Error ? error.message : String(error), first: this.#backoffMs === 0 })
      this.#backoffMs = Math.min(LAST_BACKOFF_MS, Math.max(FIRST_BACKOFF_MS, this.#backoffMs * 2))
      return false
    }
    if (this.#backoffMs > 0 || !this.#storing) report({ kind: 'storing' })
    this.#storing = true
    const head = state.log(state.spoolId())?.signedHead
    if (head !== undefined && head !== this.#ledgerHead) report({ kind: 'ledger', head })
    this.#ledgerHead = head
    if (state.settled()) report({ kind: 'settled', at })
    this.#backoffMs = 0
    return true
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
      if (this.#stopping && ms === IDLE_MS) this.#wake()
    })
  }
}
