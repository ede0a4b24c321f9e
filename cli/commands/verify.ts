// verify: is the record what was recorded, and is all of it here?
import { readFileSync } from 'node:fs'
import {
  publicKeysFromPem,
  trustFound,
  trustGiven,
  verifyEvidence,
  type EvidenceReader,
  type Findings,
  type SessionReport,
  type Trust,
} from '@agentaccess/recording'
import { clusterLedgerHeads, clusterPublicKeys } from '../cluster-settings.ts'
import { findSession, openEvidence } from '../evidence-option.ts'
import { UsageError } from '../manifests.ts'
import { printable } from '../printable.ts'

export interface VerifyCommandOptions {
  evidence?: string
  all?: boolean
  publicKey?: string
  atLeast: string[]
  output: 'text' | 'json'
}

export async function verify(sessions: readonly string[], options: VerifyCommandOptions): Promise<void> {
  const store = await openEvidence(options.evidence)
  if (sessions.length === 0 && !options.all) throw new UsageError('which sessions? Name them, or give --all')
  if (sessions.length > 0 && options.all) throw new UsageError('name sessions or give --all, not both')
  const trust = await trustFor(options, store)
  const locations = await Promise.all(sessions.map(async (id) => (await findSession(store, id)).session))
  const text = options.output === 'text'
  const findings = await verifyEvidence(store, {
    trust,
    ...(options.all ? {} : { sessions: locations }),
    atLeast: [...options.atLeast, ...(options.evidence === undefined && options.atLeast.length === 0 ? clusterLedgerHeads() : [])],
    ...(text ? { onSession: (report: SessionReport) => console.log(sessionText(report)) } : {}),
  }).catch((error: unknown) => {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  })
  if (text) console.log(conclusion(findings))
  else console.log(JSON.stringify(findings))
  process.exitCode = isWhole(findings) ? 0 : 1
}

/** Keys that are given, or that the operator published; else only those beside the evidence, which show no more than that it is consistent. */
async function trustFor({ publicKey, evidence }: VerifyCommandOptions, store: EvidenceReader): Promise<Trust> {
  if (publicKey !== undefined) return given(publicKey)
  return evidence === undefined ? trustGiven(clusterPublicKeys()) : trustFound(store)
}

function given(path: string): Trust {
  try {
    return trustGiven(publicKeysFromPem(readFileSync(path, 'utf8')))
  } catch (error) {
    throw new UsageError(`--public-key ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

const isWhole = ({ sessions, problems }: Findings) => problems.length === 0 && sessions.every(({ verdict }) => verdict === 'whole')

function sessionText({ session, verdict, detail, seq, object }: SessionReport): string {
  const at =
    verdict === 'whole' || verdict.startsWith('consistent')
      ? ''
      : `${seq === undefined ? '' : `\n    at event ${seq}`}${object === undefined ? '' : `\n    in ${object}`}`
  return printable(`${session}  ${verdict}: ${detail}${at}`, true)
}

function conclusion({ sessions, problems, heads }: Findings): string {
  const counts = new Map<string, number>()
  for (const { verdict } of sessions) counts.set(verdict, (counts.get(verdict) ?? 0) + 1)
  const lines = problems.map(({ object, message }) => `PROBLEM: ${message}${object === undefined ? '' : `\n    in ${object}`}`)
  for (const head of heads) lines.push(`ledger head ${head}`)
  lines.push(
    `${sessions.length} session${sessions.length === 1 ? '' : 's'}: ${[...counts].map(([verdict, count]) => `${count} ${verdict}`).join(', ') || 'none'}${problems.length > 0 ? `; ${problems.length} problem${problems.length === 1 ? '' : 's'} with the evidence as a whole` : ''}`,
  )
  return printable(lines.join('\n'), true)
}
