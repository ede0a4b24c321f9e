// Evidence in object storage: any endpoint that speaks S3. Its own entry in `exports`, since the client is large.
import { Readable } from 'node:stream'
import {
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  type ListObjectVersionsCommandOutput,
  type S3ClientConfig,
} from '@aws-sdk/client-s3'
import type { EvidenceReader, EvidenceWriter, StoredObject } from './store.ts'

export interface S3Options {
  bucket: string
  /** Ends in a slash, or is empty. */
  prefix: string
  region?: string
  /** Of another service than AWS's; its buckets are then part of the path. */
  endpoint?: string
  /** Where not given: the SDK's own chain (environment, web identity, instance role). */
  credentials?: { accessKeyId: string; secretAccessKey: string }
  /** Mode of Object Lock for what has a retention; `none` where the bucket has no Object Lock. */
  objectLock: 'COMPLIANCE' | 'GOVERNANCE' | 'none'
  serverSideEncryption?: 'AES256' | 'aws:kms'
  kmsKeyId?: string
}

/** `s3://bucket/prefix` → where that is; the rest as the environment says. @throws where it is no such address. */
export function parseS3Address(address: string): Pick<S3Options, 'bucket' | 'prefix'> {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]+)(?:\/(.*?))?\/*$/.exec(address)
  if (!match) throw new Error(`${address} is not an address of object storage: expected s3://BUCKET or s3://BUCKET/PREFIX`)
  return { bucket: match[1]!, prefix: match[2] ? `${match[2]}/` : '' }
}

function clientFor({ region, endpoint, credentials }: S3Options): S3Client {
  const config: S3ClientConfig = { maxAttempts: 2 }
  if (credentials) config.credentials = credentials
  if (region !== undefined || endpoint !== undefined) config.region = region ?? 'us-east-1'
  if (endpoint !== undefined) Object.assign(config, { endpoint, forcePathStyle: true })
  return new S3Client(config)
}

const named = (error: unknown, ...names: string[]) => error instanceof S3ServiceException && names.includes(error.name)

/** Needs the rights PutObject and, with a retention, PutObjectRetention; never reads. */
export class S3Writer implements EvidenceWriter {
  readonly #client: S3Client
  readonly #options: S3Options

  constructor(options: S3Options) {
    this.#options = options
    this.#client = clientFor(options)
  }

  async put(key: string, body: Uint8Array, retainUntil?: Date): Promise<'stored' | 'existed'> {
    const { bucket, prefix, objectLock, serverSideEncryption, kmsKeyId } = this.#options
    try {
      await this.#client.send(
        new PutObjectCommand({
          Bucket: bucket,
          Key: prefix + key,
          Body: body,
          IfNoneMatch: '*',
          ...(retainUntil && objectLock !== 'none' ? { ObjectLockMode: objectLock, ObjectLockRetainUntilDate: retainUntil } : {}),
          ...(serverSideEncryption ? { ServerSideEncryption: serverSideEncryption } : {}),
          ...(kmsKeyId ? { SSEKMSKeyId: kmsKeyId } : {}),
        }),
      )
      return 'stored'
    } catch (error) {
      // The key holds its content's hash, or a number that is given once: what is there is this.
      if (named(error, 'PreconditionFailed')) return 'existed'
      throw new Error(`object storage refuses ${prefix}${key} in bucket ${bucket}: ${describe(error)}`, { cause: error })
    }
  }
}

function describe(error: unknown): string {
  if (error instanceof S3ServiceException) return `${error.name}: ${error.message} (HTTP ${error.$metadata.httpStatusCode ?? '?'})`
  if (error instanceof AggregateError) return error.errors.map(describe).join(', ')
  return error instanceof Error ? error.message : String(error)
}

/**
 * Reads the first version of each object: the proxy puts each key once, and what came later, a delete marker or other
 * bytes, is somebody else's.
 */
export class S3Reader implements EvidenceReader {
  readonly #client: S3Client
  readonly #options: S3Options
  readonly #versions = new Map<string, string>()

  constructor(options: S3Options) {
    this.#options = options
    this.#client = clientFor(options)
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const { bucket, prefix: root } = this.#options
    let oldest: (StoredObject & { version: string }) | undefined
    let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {}
    while (marker) {
      const page: ListObjectVersionsCommandOutput = await this.#client.send(new ListObjectVersionsCommand({ Bucket: bucket, Prefix: root + prefix, ...marker }))
      for (const { Key, Size, VersionId } of page.Versions ?? []) {
        const key = Key!.slice(root.length)
        if (oldest && oldest.key !== key) yield this.#remember(oldest)
        // Versions of a key come newest first.
        oldest = { key, bytes: Size ?? 0, version: VersionId ?? 'null' }
      }
      marker = page.IsTruncated
        ? { KeyMarker: page.NextKeyMarker!, ...(page.NextVersionIdMarker === undefined ? {} : { VersionIdMarker: page.NextVersionIdMarker }) }
        : undefined
    }
    if (oldest) yield this.#remember(oldest)
  }

  #remember({ key, bytes, version }: StoredObject & { version: string }): StoredObject {
    this.#versions.set(key, version)
    return { key, bytes }
  }

  async #get(key: string): Promise<Readable | undefined> {
    const { bucket, prefix } = this.#options
    if (!this.#versions.has(key)) {
      for await (const listed of this.list(key)) if (listed.key === key) break
      if (!this.#versions.has(key)) return undefined
    }
    const version = this.#versions.get(key)!
    const object = await this.#client.send(new GetObjectCommand({ Bucket: bucket, Key: prefix + key, ...(version === 'null' ? {} : { VersionId: version }) }))
    return object.Body as Readable
  }

  open(key: string): Readable {
    const get = this.#get.bind(this)
    return Readable.from(
      (async function* () {
        const body = await get(key)
        if (!body) throw Object.assign(new Error(`no object ${key}`), { code: 'ENOENT' })
        yield* body
      })(),
      { objectMode: false },
    )
  }

  async read(key: string): Promise<Buffer | undefined> {
    const body = await this.#get(key)
    if (!body) return undefined
    const chunks: Buffer[] = []
    for await (const chunk of body) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks)
  }
}
