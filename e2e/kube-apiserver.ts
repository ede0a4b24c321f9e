// A real kube-apiserver with its etcd, for tests: no nodes, no controllers. Built as the cluster's parts are.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BIN, ensureParts } from './cluster/parts.ts'
import { makePki } from './cluster/pki.ts'
import { freePort } from './postgres.ts'
import type { Finished, Scope } from './scope.ts'

export interface KubeApiServer {
  port: number
  /** Of an administrator, as JSON. */
  kubeconfig: string
  /** Runs kubectl as that administrator. */
  admin(...args: string[]): Promise<Finished>
  /** What the API server's audit log has, of requests that are complete. */
  audit(): AuditEvent[]
}

/** audit.k8s.io/v1 */
interface AuditEvent {
  auditID: string
  stage: string
  verb: string
  requestURI: string
  user: { username: string; extra?: Record<string, string[]> }
  impersonatedUser?: { username: string; extra?: Record<string, string[]> }
  responseStatus?: { code: number }
}

const AUDIT_POLICY = { apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived', 'ResponseStarted'], rules: [{ level: 'Metadata' }] }

export const kubectlProgram = join(BIN, 'kubectl')

export async function startKubeApiServer(scope: Scope): Promise<KubeApiServer> {
  await ensureParts(scope, ['api'], (line) => console.error(`# ${line}`))
  const folder = join(scope.folder, 'kube')
  mkdirSync(folder)
  const pki = (name: string) => join(folder, 'pki', name)
  await makePki(scope, join(folder, 'pki'))
  const [port, clientPort, peerPort] = await Promise.all([freePort(), freePort(), freePort()])
  const etcd = `http://127.0.0.1:${clientPort}`
  const peer = `http://127.0.0.1:${peerPort}`
  scope.spawn(
    'etcd',
    [
      `--data-dir=${join(folder, 'etcd')}`,
      '--unsafe-no-fsync',
      '--log-level=error',
      `--listen-client-urls=${etcd}`,
      `--advertise-client-urls=${etcd}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
    ],
    { stdio: 'ignore' },
  )
  const auditLog = join(folder, 'audit.log')
  writeFileSync(join(folder, 'audit-policy.json'), JSON.stringify(AUDIT_POLICY))
  const flags = [
    `--etcd-servers=${etcd}`,
    `--secure-port=${port}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    '--service-cluster-ip-range=10.96.0.0/16',
    `--tls-cert-file=${pki('apiserver.crt')}`,
    `--tls-private-key-file=${pki('apiserver.key')}`,
    `--client-ca-file=${pki('ca.crt')}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${pki('sa.pub')}`,
    `--service-account-signing-key-file=${pki('sa.key')}`,
    '--authorization-mode=RBAC',
    `--audit-policy-file=${join(folder, 'audit-policy.json')}`,
    `--audit-log-path=${auditLog}`,
    '--audit-log-mode=blocking',
    '--disable-admission-plugins=ServiceAccount',
    '--endpoint-reconciler-type=none',
  ]
  const log: string[] = []
  const server = scope.spawn(join(BIN, 'kube'), ['apiserver', ...flags], { cwd: folder })
  server.stderr?.on('data', (chunk: Buffer) => void log.push(chunk.toString()))
  const kubeconfig = readFileSync(pki('admin.kubeconfig'), 'utf8').replace('https://127.0.0.1:6443', `https://127.0.0.1:${port}`)
  const file = join(folder, 'admin.kubeconfig')
  writeFileSync(file, kubeconfig)
  const admin = (...args: string[]) => scope.run(kubectlProgram, ['--kubeconfig', file, ...args])
  for (const deadline = Date.now() + 60_000; ;) {
    if ((await admin('get', '--raw', '/readyz')).code === 0) break
    if (server.exitCode !== null || Date.now() > deadline) throw new Error(`kube-apiserver does not get ready:\n${log.join('').slice(-3000)}`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  return {
    port,
    kubeconfig: withData(kubeconfig),
    admin,
    audit: () =>
      readFileSync(auditLog, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as AuditEvent)
        .filter(({ stage }) => stage === 'ResponseComplete'),
  }
}

/** A Secret has no files beside it: what they hold stands in the kubeconfig itself. */
function withData(kubeconfig: string): string {
  return kubeconfig.replace(/"(certificate-authority|client-certificate|client-key)":"([^"]+)"/g, (_, field: string, path: string) => {
    return `"${field}-data":"${readFileSync(path).toString('base64')}"`
  })
}

/** What kubectl needs to know of one cluster and one user. */
export function kubeconfigText(cluster: object, user: object): string {
  const context = { name: 'c', context: { cluster: 'c', user: 'u' } }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user }],
    contexts: [context],
    'current-context': 'c',
  })
}
