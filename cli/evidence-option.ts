// `--evidence`, which every reader takes.
import { existsSync } from 'node:fs'
import { DirectoryStore, findSessions, type SessionLocation } from '@agentaccess/recording'
import { UsageError } from './manifests.ts'

/** @throws UsageError where there is nothing to read. */
export function openEvidence(evidence: string | undefined): DirectoryStore {
  if (evidence === undefined)
    throw new UsageError('--evidence DIR is missing: where the recordings are (reading the settings of a cluster comes with the operator)')
  if (evidence.startsWith('s3://')) throw new UsageError(`${evidence}: object storage is not supported by this version; give a directory`)
  if (!existsSync(evidence)) throw new UsageError(`${evidence} does not exist`)
  return new DirectoryStore(evidence)
}

/** The session whose id this is, or begins so. @throws UsageError */
export async function findSession(store: DirectoryStore, id: string): Promise<SessionLocation> {
  const found = (await findSessions(store)).filter(({ session }) => session.startsWith(id))
  if (found.length > 1) throw new UsageError(`${id} is the beginning of ${found.length} session ids: give more of it`)
  if (!found[0]) throw new UsageError(`no session ${id} in the evidence; \`sessions\` lists them`)
  return found[0]
}
