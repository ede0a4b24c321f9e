// Where evidence is stored: a directory, or object storage.
import { DirectoryStore, type EvidenceWriter } from '@agentaccess/recording'
import type { S3Options } from '@agentaccess/recording/s3'

/** A directory's path, or a bucket. */
export type EvidencePlace = string | S3Options

/** The client for object storage is large: it is loaded where it is used. */
export async function openWriter(place: EvidencePlace): Promise<EvidenceWriter> {
  if (typeof place === 'string') return new DirectoryStore(place)
  const { S3Writer } = await import('@agentaccess/recording/s3')
  return new S3Writer(place)
}

export const describePlace = (place: EvidencePlace): string => (typeof place === 'string' ? place : `s3://${place.bucket}/${place.prefix}`)
