// Takes over the spool that a former proxy left: repairs it, and ends what that proxy could not end.
import type { LogPosition, Signer } from '@agentaccess/recording'
import { Recorder, type RecorderOptions } from '../record/recorder.ts'
import { Spool } from '../record/spool.ts'
import { newLog, ShipState, type LogState } from '../ship/ship-state.ts'
import { finishRepair, repairSegments, setAside, truncateTorn } from './repair.ts'
import { describeRegion, scanSpool, type Scan } from './scan.ts'

export interface Adoption {
  recorder: Recorder
  /** Sessions that were ended as interrupted. */
  interrupted: string[]
  /** What a person should know: damage that was set aside. */
  warnings: string[]
}

/**
 * Opens a spool for recording. The caller holds its lock. Everything that adoption writes is on the disk when this
 * returns.
 */
export async function adoptSpool(folder: string, namespace: string, signer: Signer, options: Pick<RecorderOptions, 'freeBytes'> = {}): Promise<Adoption> {
  const state = new ShipState(folder)
  try {
    finishRepair(folder, state)
    const scan = scanSpool(folder, namespace, state)
    const warnings: string[] = []
    for (const region of scan.damage) warnings.push(`${describeRegion(region)} are damaged; they were set aside as ${setAside(folder, region)}`)
    if (scan.torn) {
      warnings.push(`the last write was cut: ${describeRegion(scan.torn)} were set aside as ${setAside(folder, scan.torn)}`)
      truncateTorn(folder, scan.torn)
    }
    if (scan.damage.length > 0 || scan.items.some((item) => !('line' in item))) repairSegments(folder, scan, state, signer, Date.now())
    const spoolId = state.spoolId()
    const recorder = new Recorder({
      ...options,
      spool: new Spool(folder),
      spoolId,
      signer,
      ledger: ledgerPosition(scan, spoolId, namespace),
      usage: usage(state, scan),
    })
    const interrupted = endSessions(recorder, scan)
    await new Promise<void>((resolve, reject) => recorder.gate.pass('Synced', resolve, (reason) => reject(new Error(reason))))
    return { recorder, interrupted, warnings }
  } finally {
    state.close()
  }
}

const position = ({ seq, head, summary }: LogState): LogPosition => ({ seq, head, signedThrough: summary.signedThrough })

function ledgerPosition(scan: Scan, spoolId: string, namespace: string): LogPosition & { lastN: number } {
  const ledger = scan.logs.get(spoolId) ?? newLog('ledger', spoolId, namespace)
  return { ...position(ledger), lastN: Math.max(scan.lastN, ledger.lastN) }
}

function usage(state: ShipState, scan: Scan): Map<string, number> {
  const usage = state.usage()
  for (const [id, bytes] of scan.bytesByLog) {
    const access = scan.logs.get(id)!.summary.access
    if (access !== '') usage.set(access, (usage.get(access) ?? 0) + bytes)
  }
  return usage
}

function endSessions(recorder: Recorder, scan: Scan): string[] {
  const interrupted: string[] = []
  for (const log of scan.logs.values()) {
    if (log.kind !== 'session' || (log.ended && log.closed)) continue
    const record = recorder.adopt(log.id, position(log), log.summary.access, log.ledgerN)
    if (log.ending) {
      // It ended, and the last write was cut before the signature or the ledger's close.
      record.finish(log.ending, log.ended !== undefined)
      continue
    }
    Object.assign(record.totals, { commands: log.summary.commands, denied: log.summary.denied, errors: log.summary.errors, rows: log.summary.rows })
    const later = scan.damage.slice(scan.damageSeen.get(log.id) ?? 0)
    if (later.length > 0) record.gap(`the spool was damaged: ${later.map(describeRegion).join(', ')} may have held lines of this session`)
    else if (log.seq === 0) record.gap('the first line of this session was never written')
    for (const command of log.summary.open) record.result(command, { status: 'outcome unknown', final: true })
    record.end('interrupted', 'the proxy ended before the session did')
    interrupted.push(log.id)
  }
  return interrupted
}
