// AgentAccess as a platform team installs it, on the cluster that runs here, with a database, agents and a bucket.
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { startPostgres, type PostgresServer } from '../postgres.ts'
import type { Scope } from '../scope.ts'
import { BUCKET, ENDPOINT, PROXY_USER, startBucket, type Bucket } from './bucket.ts'
import { CLIENT_IMAGE, OUR_IMAGE } from './images.ts'
import { apply, eventually, get, kubectl, run, succeed } from './kubectl.ts'
import { NODE, VOLUMES } from './node.ts'
import { COLLECTOR, startTelemetry, type Telemetry } from './telemetry.ts'

export const SYSTEM = 'agentaccess-system'
export const CHART = join(import.meta.dirname, '../../charts/agentaccess')
export const ROLE = { user: 'app', password: 'secret-of-the-role' }
const [REPOSITORY, TAG] = OUR_IMAGE.split(':') as [string, string]

export interface Installation {
  bucket: Bucket
  database: PostgresServer
  telemetry: Telemetry
}

export const chartValues = (more: Record<string, string> = {}): string[] =>
  Object.entries({
    'image.repository': REPOSITORY,
    'image.tag': TAG,
    'evidence.s3.bucket': BUCKET,
    'evidence.s3.endpoint': ENDPOINT,
    'evidence.s3.existingSecret': 'bucket',
    'evidence.s3.objectLock': 'COMPLIANCE',
    'otlp.endpoint': COLLECTOR,
    'proxy.replicas': '1',
    'proxy.spool.size': '1Gi',
    'proxy.spool.storageClassName': 'manual',
    'proxy.graceSeconds': '2',
    ...more,
  }).flatMap(([name, value]) => ['--set', `${name}=${value}`])

/** Everything but an AgentAccess. A cluster on which this was done before is put back to its beginning first. */
export async function install(scope: Scope): Promise<Installation> {
  await clean()
  const [bucket, database, telemetry] = await Promise.all([startBucket(scope), startDatabase(scope), startTelemetry(scope)])
  await apply(
    ...volumes(10),
    namespace(SYSTEM),
    namespace('shop'),
    namespace('other'),
    namespace('agents'),
    bucketSecret(),
    ...databaseObjects('shop', database.port),
    ...databaseObjects('other', database.port),
  )
  const agents = ['claude', 'cursor', 'stranger'].map((name) => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'agents' } }))
  await apply(...agents)
  await succeed('helm', ['install', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues(), '--wait', '--timeout', '120s'])
  return { bucket, database, telemetry }
}

async function clean(): Promise<void> {
  await run('helm', ['uninstall', 'agentaccess', '-n', SYSTEM, '--wait', '--timeout', '60s'])
  const { items } = JSON.parse((await run('kubectl', ['get', 'agentaccess', '-A', '-o', 'json'])).stdout || '{"items":[]}') as {
    items: { metadata: { name: string; namespace: string } }[]
  }
  for (const { metadata } of items)
    await run('kubectl', ['patch', 'agentaccess', metadata.name, '-n', metadata.namespace, '--type=merge', '-p', '{"metadata":{"finalizers":null}}'])
  await kubectl('delete', 'namespace', SYSTEM, 'shop', 'agents', 'other', 'doomed', '--ignore-not-found', '--wait')
  await kubectl('delete', 'pv', '--all', '--wait')
  // Not the folder itself: the node may have it mounted.
  await run('find', [VOLUMES, '-mindepth', '1', '-delete'])
}

const namespace = (name: string) => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': name === 'agents' ? 'privileged' : 'restricted' } },
})

/** No provisioner runs here: folders of the node, that any user can write. */
function volumes(count: number): object[] {
  for (let i = 0; i < count; i++) {
    mkdirSync(`${VOLUMES}/${i}`, { recursive: true })
    chmodSync(`${VOLUMES}/${i}`, 0o777)
  }
  const storageClass = {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'manual' },
    provisioner: 'kubernetes.io/no-provisioner',
    volumeBindingMode: 'WaitForFirstConsumer',
  }
  return [
    storageClass,
    ...Array.from({ length: count }, (_, i) => ({
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: `volume-${i}` },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        storageClassName: 'manual',
        persistentVolumeReclaimPolicy: 'Retain',
        hostPath: { path: `${VOLUMES}/${i}`, type: 'Directory' },
      },
    })),
  ]
}

const bucketSecret = () => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'bucket', namespace: SYSTEM },
  stringData: { AWS_ACCESS_KEY_ID: PROXY_USER.accessKeyId, AWS_SECRET_ACCESS_KEY: PROXY_USER.secretAccessKey },
})

/** A real PostgreSQL beside the cluster, which pods reach at the node's address. */
async function startDatabase(scope: Scope): Promise<PostgresServer> {
  const database = await startPostgres(scope, { settings: { listen_addresses: '*', log_statement: 'all' }, hba: ['host all all 0.0.0.0/0 scram-sha-256'] })
  await database.query(`CREATE ROLE ${ROLE.user} LOGIN PASSWORD '${ROLE.password}'`)
  await database.query(`CREATE DATABASE orders OWNER ${ROLE.user}`)
  await database.query(
    `CREATE TABLE orders (id int PRIMARY KEY, item text); INSERT INTO orders VALUES (1, 'tea'); ALTER TABLE orders OWNER TO ${ROLE.user}`,
    [],
    'orders',
  )
  return database
}

/** The database as a Service of the namespace, and the Secret that the access names. */
export function databaseObjects(inNamespace: string, port: number): object[] {
  const metadata = { name: 'orders-db', namespace: inNamespace }
  return [
    { apiVersion: 'v1', kind: 'Service', metadata, spec: { ports: [{ name: 'postgres', port: 5432 }] } },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { ...metadata, labels: { 'kubernetes.io/service-name': metadata.name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [NODE.address] }],
      ports: [{ name: 'postgres', port }],
    },
    { apiVersion: 'v1', kind: 'Secret', metadata: { ...metadata, name: 'orders-db-agent' }, stringData: { username: ROLE.user, password: ROLE.password } },
  ]
}

/** An access of the demo's shape; `spec` replaces parts of it. */
export function agentAccess(name: string, inNamespace: string, spec: object = {}): object {
  return {
    apiVersion: 'agentaccess.dev/v1alpha1',
    kind: 'AgentAccess',
    metadata: { name, namespace: inNamespace },
    spec: {
      agents: [
        { name: 'claude', serviceAccount: { name: 'claude', namespace: 'agents', proofs: ['Pod'] } },
        { name: 'cursor', serviceAccount: { name: 'cursor', namespace: 'agents' } },
      ],
      target: {
        postgres: {
          host: `orders-db.${inNamespace}.svc`,
          database: 'orders',
          credentials: { secretRef: { name: 'orders-db-agent' } },
          tls: { mode: 'Disable' },
        },
      },
      policy: { rules: [{ name: 'no-drops', when: "'DROP' in command.operations", action: 'Deny', message: 'schema changes go through migrations' }] },
      ...spec,
    },
  }
}

interface Access {
  status?: { endpoint?: string; activeSessions?: number; conditions?: { type: string; status: string; reason: string; message: string }[] }
}

/** A condition of an access, once it has this status. */
export async function condition(name: string, inNamespace: string, type: string, status: string, seconds = 60): Promise<{ reason: string; message: string }> {
  let last = ''
  try {
    return await eventually(
      `${inNamespace}/${name} ${type}=${status}`,
      async () => {
        const access = await get<Access>('agentaccess', name, '-n', inNamespace)
        last = JSON.stringify(access.status)
        return access.status?.conditions?.find((one) => one.type === type && one.status === status)
      },
      seconds,
    )
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${last}`, { cause: error })
  }
}

export interface PodOptions {
  serviceAccount: string
  labels?: Record<string, string>
  hostNetwork?: boolean
  /** Mounts a token for this audience at /var/run/agentaccess/token. */
  audience?: string
}

/** A pod of the agents' namespace with psql in it, running. */
export async function agentPod(name: string, { serviceAccount, labels = {}, hostNetwork = false, audience }: PodOptions): Promise<void> {
  const token = { name: 'token', projected: { sources: [{ serviceAccountToken: { path: 'token', audience: audience ?? '', expirationSeconds: 600 } }] } }
  await apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'agents', labels },
    spec: {
      serviceAccountName: serviceAccount,
      hostNetwork,
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: 'agent',
          image: CLIENT_IMAGE,
          imagePullPolicy: 'Never',
          command: ['sleep', 'infinity'],
          volumeMounts: [{ name: 'ca', mountPath: '/ca' }, ...(audience === undefined ? [] : [{ name: 'token', mountPath: '/var/run/agentaccess' }])],
        },
      ],
      volumes: [{ name: 'ca', configMap: { name: 'agentaccess-ca', optional: true } }, ...(audience === undefined ? [] : [token])],
    },
  })
  await kubectl('wait', '--for=condition=Ready', `pod/${name}`, '-n', 'agents', '--timeout=60s')
}

/** Runs psql in such a pod. */
export const psql = (pod: string, connection: string, ...args: string[]) =>
  run('kubectl', ['exec', '-n', 'agents', pod, '--', 'psql', connection, '-AtX', '-v', 'ON_ERROR_STOP=1', ...args])
