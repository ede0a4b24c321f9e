// What the shipper's reports come to: for state, metrics and the log.
import { describePlace, type EvidencePlace } from './evidence-place.ts'
import type { OtlpOptions } from './otlp/sender.ts'
import type { ShipReport } from './shipper.ts'

export interface ShippingState {
  /** For how long something has waited to be stored. */
  lagSeconds: number
  /** Nothing waits in the spool: all that was recorded until a moment ago is stored. */
  settled: boolean
  /** Attempts to store that failed, since the proxy started. */
  storeFailures: number
  /** Up to where the ledger is stored: `<spool>:<seq>:<hash>`. */
  ledgerHead?: string
  /** Whether evidence is stored: not tried yet, yes, or why not. */
  storing: boolean | string
  /** Whether the collector takes what it is sent; undefined where there is none. */
  exporting?: boolean | string
  /** Since the proxy started: spans and logs that the collector took, and that it rejected for good. */
  exported?: { taken: number; rejected: number }
}

type Log = (level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => void

/** From when a line is made until it is in the spool's file, at most. */
const WRITTEN_MS = 1000

export class ShipStatus {
  readonly #evidence: { evidence: string }
  readonly #collector: { collector: string } | undefined
  readonly #log: Log
  readonly #exported = { taken: 0, rejected: 0 }
  #storing: boolean | string = false
  #exporting: boolean | string = false
  #settledAt = Date.now()
  #storeFailures = 0
  #ledgerHead: string | undefined

  constructor(evidence: EvidencePlace, otlp: OtlpOptions | undefined, log: Log) {
    this.#evidence = { evidence: describePlace(evidence) }
    this.#collector = otlp && { collector: otlp.endpoint }
    this.#log = log
  }

  /** `lastAppend`: when the last line was recorded; milliseconds since the epoch. */
  state(lastAppend: number): ShippingState {
    return {
      settled: this.#settledAt > lastAppend + WRITTEN_MS,
      lagSeconds: this.#settledAt > lastAppend ? 0 : (Date.now() - this.#settledAt) / 1000,
      storeFailures: this.#storeFailures,
      ...(this.#ledgerHead === undefined ? {} : { ledgerHead: this.#ledgerHead }),
      storing: this.#storing,
      ...(this.#collector ? { exporting: this.#exporting, exported: this.#exported } : {}),
    }
  }

  /** The thread died. */
  died(error: Error): void {
    this.#storing = `the shipper failed; everything stays in the spool: ${error.message}`
    this.#log('error', {}, this.#storing)
  }

  take(report: ShipReport): void {
    switch (report.kind) {
      case 'settled':
        this.#settledAt = report.at
        break
      case 'ledger':
        this.#ledgerHead = report.head
        break
      case 'failing':
        this.#storing = report.message
        this.#storeFailures++
        if (report.first) this.#log('error', this.#evidence, `evidence can't be stored, and waits in the spool: ${report.message}`)
        break
      case 'storing':
        this.#storing = true
        this.#log('info', this.#evidence, 'evidence is stored')
        break
      case 'exported':
        this.#exported.taken += report.count
        break
      case 'rejected':
        this.#exported.rejected += report.count
        this.#log('error', { ...this.#collector }, `the collector rejects ${report.count} spans or logs for good: ${report.message}`)
        break
      case 'export failing':
        this.#exporting = report.message
        this.#log('error', { ...this.#collector }, `the collector takes nothing, and it waits: ${report.message}`)
        break
      case 'exporting':
        this.#exporting = true
        this.#log('info', { ...this.#collector }, 'the collector takes spans and logs')
        break
      default:
        break
    }
  }
}
