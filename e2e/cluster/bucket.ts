// A real S3 server with Object Lock beside the cluster, a bucket, and two users: the proxies', who may only put, and a reader.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { CreateBucketCommand, PutBucketPolicyCommand, S3Client } from '@aws-sdk/client-s3'
import { stopChild, type Scope } from '../scope.ts'
import { eventually, succeed } from './kubectl.ts'
import { NODE } from './node.ts'

const PORT = 7070
const ROOT_USER = { accessKeyId: 'root', secretAccessKey: 'secret-of-root' }
export const BUCKET = 'evidence'
export const PROXY_USER = { accessKeyId: 'proxies', secretAccessKey: 'secret-of-the-proxies' }
export const ENDPOINT = `http://${NODE.address}:${PORT}`

export interface Bucket {
  /** May do everything. */
  root: S3Client
  /** What the proxies may do. */
  asProxy: S3Client
  stop(): Promise<void>
  start(): Promise<void>
}

const clientFor = (credentials: { accessKeyId: string; secretAccessKey: string }) =>
  new S3Client({ endpoint: ENDPOINT, region: 'us-east-1', forcePathStyle: true, credentials, maxAttempts: 1 })

export const readerCredentials = ROOT_USER

export async function startBucket(scope: Scope): Promise<Bucket> {
  const [data, versions, users] = ['data', 'versions', 'users'].map((name) => join(scope.folder, 's3', name)) as [string, string, string]
  for (const folder of [data, versions, users]) mkdirSync(folder, { recursive: true })
  let child: ReturnType<Scope['spawn']> | undefined
  const root = clientFor(ROOT_USER)
  const credentials = ['--access', ROOT_USER.accessKeyId, '--secret', ROOT_USER.secretAccessKey]
  const start = async () => {
    child = scope.spawn('versitygw', ['--port', `${NODE.address}:${PORT}`, ...credentials, '--iam-dir', users, 'posix', '--versioning-dir', versions, data], {
      stdio: 'ignore',
    })
    await eventually('the S3 server', async () => (await fetch(ENDPOINT).catch(() => undefined)) !== undefined, 20)
  }
  await start()
  const { accessKeyId, secretAccessKey } = PROXY_USER
  const admin = ['admin', '--endpoint-url', ENDPOINT, ...credentials]
  await succeed('versitygw', [...admin, 'create-user', '--access', accessKeyId, '--secret', secretAccessKey, '--role', 'user'])
  await root.send(new CreateBucketCommand({ Bucket: BUCKET, ObjectLockEnabledForBucket: true }))
  const policy = {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Principal: { AWS: [accessKeyId] }, Action: ['s3:PutObject', 's3:PutObjectRetention'], Resource: `arn:aws:s3:::${BUCKET}/*` },
    ],
  }
  await root.send(new PutBucketPolicyCommand({ Bucket: BUCKET, Policy: JSON.stringify(policy) }))
  const stop = async () => {
    if (child) await stopChild(child, 'SIGTERM')
  }
  return { root, asProxy: clientFor(PROXY_USER), start, stop }
}
