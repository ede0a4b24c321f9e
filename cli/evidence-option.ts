// `--evidence`, which every reader takes: a directory, a bucket, or, where it is left out, what the cluster's chart says.
import { existsSync } from 'node:fs'
import { DirectoryStore, findSessions, type EvidenceReader, type SessionLocation } from '@agentaccess/recording'
import type { S3Options } from '@agentaccess/recording/s3'
import { clusterSettings } from './cluster-settings.ts'
import { UsageError } from './manifests.ts'

/** @throws UsageError where there is nothing to read. */
export async function openEvidence(evidence: string | undefined): Promise<EvidenceReader> {
  if (evidence !== undefined && !evidence.startsWith('s3://')) {
    if (!existsSync(evidence)) throw new UsageError(`${evidence} does not exist`)
    return new DirectoryStore(evidence)
  }
  const place = evidence === undefined ? clusterSettings().evidence : await bucketOf(evidence)
  const { S3Reader } = await import('@agentaccess/recording/s3')
  const store = new S3Reader(place)
  try {
    // What is wrong with address or credentials is said once, and plainly.
    for await (const _ of store.list('keys/')) break
  } catch (error) {
    throw new UsageError(
      `bucket ${place.bucket}${place.endpoint === undefined ? '' : ` at ${place.endpoint}`} can't be read: ${error instanceof Error ? error.message : String(error)}. ` +
        'Credentials are taken as the AWS command line takes them; the rights s3:ListBucketVersions, s3:GetObject and s3:GetObjectVersion are needed',
    )
  }
  return store
}

/** `s3://BUCKET/PREFIX`; the rest is in the environment, as for the AWS command line. @throws UsageError */
export async function bucketOf(address: string): Promise<S3Options> {
  const { parseS3Address } = await import('@agentaccess/recording/s3')
  const endpoint = process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL
  const region = process.env.AWS_REGION ?? process.env.AWS_DEFAULT_REGION
  try {
    return { ...parseS3Address(address), objectLock: 'none', ...(endpoint ? { endpoint } : {}), ...(region ? { region } : {}) }
  } catch (error) {
    throw new UsageError(`--evidence ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** The session whose id this is, or begins so. @throws UsageError */
export async function findSession(store: EvidenceReader, id: string): Promise<SessionLocation> {
  const found = (await findSessions(store)).filter(({ session }) => session.startsWith(id))
  if (found.length > 1) throw new UsageError(`${id} is the beginning of ${found.length} session ids: give more of it`)
  if (!found[0]) throw new UsageError(`no session ${id} in the evidence; \`sessions\` lists them`)
  return found[0]
}
