// The shipper's thread. Compression, hashing and SQLite stay off the loop that serves agents.
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { signerFromPem } from '@agentaccess/recording'
import { openWriter, type EvidencePlace } from './evidence-place.ts'
import { Retention, type RetentionTable } from './retention.ts'
import { Shipper, type ShipReport } from './shipper.ts'
import { ShipState } from './ship-state.ts'

export interface ShipThreadData {
  folder: string
  namespace: string
  evidence: EvidencePlace
  signingKeyPem: string
  retention: RetentionTable
}

/** What the thread is told while it runs. */
export type ShipOrder = { kind: 'drain' } | { kind: 'retention'; table: RetentionTable }

const SHIPPING_NICENESS = 10

/** Agents come first: on Linux each thread has a niceness of its own. Elsewhere shipping is as nice as the rest. */
function yieldToAgents(): void {
  try {
    const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1))
    if (Number.isInteger(thread) && thread !== process.pid) setPriority(thread, SHIPPING_NICENESS)
  } catch {
    // Not Linux, or not allowed: shipping only costs more.
  }
}

if (parentPort) {
  yieldToAgents()
  const port = parentPort
  const { folder, namespace, evidence, signingKeyPem, retention: table } = workerData as ShipThreadData
  const retention = new Retention(table)
  const state = new ShipState(folder)
  const shipper = new Shipper({
    state,
    store: await openWriter(evidence),
    retention,
    signer: signerFromPem(signingKeyPem),
    folder,
    namespace,
    report: (report: ShipReport) => port.postMessage(report),
  })
  port.on('message', (order: ShipOrder) => {
    if (order.kind === 'drain') shipper.drain()
    else retention.update(order.table)
  })
  await shipper.run()
  state.close()
  port.close()
}
