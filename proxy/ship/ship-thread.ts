// The shipper's thread. Compression, hashing and SQLite stay off the loop that serves agents.
import { readlinkSync } from 'node:fs'
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { signerFromPem } from '@agentaccess/recording'
import { openWriter, type EvidencePlace } from './evidence-place.ts'
import type { OtlpOptions } from './otlp/sender.ts'
import { Retention, type RetentionTable } from './retention.ts'
import { Shipper, type ShipReport } from './shipper.ts'
import { ShipState } from './ship-state.ts'

export interface ShipThreadData {
  folder: string
  namespace: string
  evidence: EvidencePlace
  signingKeyPem: string
  retention: RetentionTable
  otlp?: OtlpOptions | undefined
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

/** The serializers are large: they are loaded where there is a collector. */
async function startTelemetry(state: ShipState, otlp: OtlpOptions, namespace: string, report: (report: ShipReport) => void) {
  const [{ Exports }, { Sender }, { proxyResource }] = await Promise.all([import('./otlp/exports.ts'), import('./otlp/sender.ts'), import('./otlp/encode.ts')])
  const sender = new Sender(state, otlp, report)
  const ran = sender.run()
  const stop = () => {
    sender.stop()
    return ran
  }
  return { exports: new Exports(proxyResource(namespace, state.spoolId())), stop }
}

if (parentPort) {
  yieldToAgents()
  const port = parentPort
  const { folder, namespace, evidence, signingKeyPem, retention: table, otlp } = workerData as ShipThreadData
  const retention = new Retention(table)
  const state = new ShipState(folder)
  const report = (made: ShipReport) => port.postMessage(made)
  const telemetry = otlp && (await startTelemetry(state, otlp, namespace, report))
  const shipper = new Shipper({
    state,
    store: await openWriter(evidence),
    retention,
    exports: telemetry?.exports,
    signer: signerFromPem(signingKeyPem),
    folder,
    namespace,
    report,
  })
  port.on('message', (order: ShipOrder) => {
    if (order.kind === 'drain') shipper.drain()
    else retention.update(order.table)
  })
  await shipper.run()
  await telemetry?.stop()
  report({ kind: 'drained' })
  state.close()
  port.close()
}
