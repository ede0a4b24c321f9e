// Turns what is cut of the spool into requests that wait to be sent, in the same transaction: what the cursor has passed is
// in the queue, whatever happens next.
import type { Event } from '@agentaccess/recording'
import type { Resource } from '@opentelemetry/resources'
import type { Frame } from '../../record/frame.ts'
import type { ShipState } from '../ship-state.ts'
import { encodeLogs, encodeSpans } from './encode.ts'
import { foldEvent, type Folded, type TraceState } from './session-trace.ts'

/** Of lines: a request is then well below the four megabytes that collectors take. */
const REQUEST_BYTES = 1024 * 1024

export class Exports {
  readonly #resource: Resource

  constructor(resource: Resource) {
    this.#resource = resource
  }

  /** To be called within a transaction of `state`. */
  queue(state: ShipState, frames: readonly Frame[]): void {
    const [first] = frames
    if (first?.kind !== 'session') return
    let folded: Folded = { spans: [], logs: [] }
    let bytes = 0
    let trace = state.trace(first.id) as TraceState | undefined
    for (const frame of frames) {
      const { line } = frame
      trace = foldEvent(trace, JSON.parse(line.toString('utf8')) as Event, folded)
      bytes += line.length
      if (bytes < REQUEST_BYTES) continue
      this.#flush(state, folded)
      folded = { spans: [], logs: [] }
      bytes = 0
    }
    this.#flush(state, folded)
    state.saveTrace(first.id, trace)
  }

  #flush(state: ShipState, { spans, logs }: Folded): void {
    if (spans.length > 0) state.queueExport('traces', encodeSpans(spans, this.#resource), spans.length)
    if (logs.length > 0) state.queueExport('logs', encodeLogs(logs, this.#resource), logs.length)
  }
}
