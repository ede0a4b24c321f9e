// Evidence of every shape, made by the recorder and the shipper themselves: sessions that ended and that were adopted, with
// blobs, with many parts, with refusals. `earlier` gets a copy from a moment at which some of them were running.
import { cpSync, writeFileSync } from 'node:fs'
import { adoptSpool } from '@agentaccess/proxy/adopt'
import { Shipper, ShipState } from '@agentaccess/proxy/ship'
import { DirectoryStore, generateSigningKeyPem, signerFromPem, type Signer } from '@agentaccess/recording'

export const NAMESPACE = 'shop'
const ACCESS = 'shop/orders'

export interface MadeEvidence {
  spool: string
  evidence: string
  earlier: string
  publicKey: string
}

type Recorder = Awaited<ReturnType<typeof adoptSpool>>['recorder']
type SessionRecord = ReturnType<Recorder['openSession']>['record']

export function open(recorder: Recorder, agent: string): SessionRecord {
  return recorder.openSession(ACCESS, { 'gen_ai.agent.name': agent, 'agentaccess.task': 'FLAKY-1', 'agentaccess.access': ACCESS }).record
}

export function work(record: SessionRecord, commands: number): void {
  for (let i = 0; i < commands; i++) {
    const command = record.command({ 'db.query.text': `SELECT ${i} -- ${'x'.repeat(i % 50)}`, 'agentaccess.operations': ['SELECT'] })
    record.result(command, { status: 'ok', final: true, durationMs: 1, rows: 1, attributes: { 'db.response.returned_rows': 1 } })
  }
}

export async function ship(spool: string, evidence: string, signer: Signer): Promise<void> {
  const state = new ShipState(spool)
  const shipper = new Shipper({ state, store: new DirectoryStore(evidence), signer, folder: spool, namespace: NAMESPACE, report: () => {} })
  shipper.drain()
  await shipper.run()
  state.close()
}

export const written = (recorder: Recorder) =>
  new Promise<void>((resolve, reject) => recorder.gate.pass('Written', resolve, (reason) => reject(new Error(reason))))

export async function makeEvidence({ spool, evidence, earlier, publicKey }: MadeEvidence): Promise<void> {
  const signer = signerFromPem(generateSigningKeyPem())
  writeFileSync(publicKey, signer.publicKey.export({ type: 'spki', format: 'pem' }))
  const first = await adoptSpool(spool, NAMESPACE, signer)
  const long = open(first.recorder, 'claude')
  const killed = open(first.recorder, 'cursor')
  for (const agent of ['claude', 'chatgpt', 'codex']) {
    const record = open(first.recorder, agent)
    work(record, 20)
    record.end('client')
  }
  work(long, 30)
  work(killed, 5)
  killed.command({ 'db.query.text': 'DELETE FROM never_answered' })
  // The timer signs what is a second old: then the ledger has a head too.
  await new Promise((resolve) => setTimeout(resolve, 1500))
  await written(first.recorder)
  await ship(spool, evidence, signer)
  cpSync(evidence, earlier, { recursive: true })
  work(long, 1200)
  const large = open(first.recorder, 'claude')
  large.command({ 'db.query.text': `SELECT '${'long '.repeat(60_000)}'` })
  large.result(2, { status: 'error', final: true, attributes: { 'db.response.status_code': '42601' } })
  large.end('target', 'it went away')
  long.end('client')
  const door = open(first.recorder, '')
  door.refused(1, undefined, { 'client.address': '192.0.2.1' })
  door.end('proxy')
  await written(first.recorder)
  // The first proxy is "killed" here: the next one gets a copy of the spool as it is at this moment, and adopts it.
  const copy = `${spool}-copy`
  cpSync(spool, copy, { recursive: true })
  const second = await adoptSpool(copy, NAMESPACE, signer)
  for (let i = 0; i < 3; i++) {
    const record = open(second.recorder, 'claude')
    work(record, 3)
    record.end('client')
  }
  await second.recorder.close()
  await ship(copy, evidence, signer)
  await first.recorder.close()
}
