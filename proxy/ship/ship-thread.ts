// The shipper's thread. Compression, hashing and SQLite stay off the loop that serves agents.
import { parentPort, workerData } from 'node:worker_threads'
import { DirectoryStore, signerFromPem } from '@agentaccess/recording'
import { Shipper, type ShipReport } from './shipper.ts'
import { ShipState } from './ship-state.ts'

export interface ShipThreadData {
  folder: string
  namespace: string
  evidence: string
  signingKeyPem: string
}

if (parentPort) {
  const port = parentPort
  const { folder, namespace, evidence, signingKeyPem } = workerData as ShipThreadData
  const state = new ShipState(folder)
  const shipper = new Shipper({
    state,
    store: new DirectoryStore(evidence),
    signer: signerFromPem(signingKeyPem),
    folder,
    namespace,
    report: (report: ShipReport) => port.postMessage(report),
  })
  port.on('message', () => shipper.drain())
  await shipper.run()
  state.close()
  port.close()
}
