// Starts the shipper's thread and passes on what it reports.
import { Worker } from 'node:worker_threads'
import { threadFile } from '../thread-file.ts'
import type { ShipReport } from './shipper.ts'
import type { RetentionTable } from './retention.ts'
import type { ShipOrder, ShipThreadData } from './ship-thread.ts'

export interface RunningShipper {
  /** How long evidence is kept, from now on. */
  retain(table: RetentionTable): void
  /** Nothing more will be recorded: resolves to true once all is stored, to false where that takes longer than `ms`. */
  drain(ms: number): Promise<boolean>
}

/** `failed` is called where the thread dies: nothing is shipped any more, and everything stays in the spool. */
export function startShipper(data: ShipThreadData, onReport: (report: ShipReport) => void, failed: (error: Error) => void): RunningShipper {
  const worker = new Worker(threadFile('ship-thread', import.meta.url), { workerData: data })
  let drained: ((done: boolean) => void) | undefined
  worker.on('message', (report: ShipReport) => {
    if (report.kind === 'drained') drained?.(true)
    else onReport(report)
  })
  worker.on('error', failed)
  worker.on('exit', () => drained?.(false))
  const order = (message: ShipOrder) => worker.postMessage(message)
  return {
    retain: (table) => order({ kind: 'retention', table }),
    drain: (ms) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => drained?.(false), ms)
        drained = (done) => {
          clearTimeout(timer)
          drained = undefined
          // A thread that is cut off in mid-put leaves an object that the next start puts again.
          worker.terminate().then(
            () => resolve(done),
            () => resolve(done),
          )
        }
        order({ kind: 'drain' })
      }),
  }
}
