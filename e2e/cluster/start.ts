// Inside the cluster's own namespaces (init.sh): starts every component, waits for a Ready node, then runs what it is given,
// or waits to be ended.
import { mkdirSync, openSync, readdirSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { Scope, type Finished } from '../scope.ts'
import { IMAGES } from './images.ts'
import { BIN, LOGS } from './parts.ts'
import { NODE } from './node.ts'
import { API_SERVER, makePki } from './pki.ts'

const READY_MS = 120_000

const [folder, ...command] = process.argv.slice(2) as [string, ...string[]]
const scope = new Scope('cluster')
const path = (...names: string[]) => join(folder, ...names)
const pki = (name: string) => path('pki', name)
const env = { ...process.env, PATH: `${BIN}:${process.env.PATH}`, KUBECONFIG: pki('admin.kubeconfig') }

function start(name: string, program: string, args: string[]): void {
  const log = openSync(join(LOGS, `${name}.log`), 'a')
  const child = scope.spawn(program, args, { stdio: ['ignore', log, log], cwd: folder, env })
  child.once('exit', (code, signal) => {
    if (!stopping) console.error(`cluster: ${name} ended (${code ?? signal}); its log is ${join(LOGS, `${name}.log`)}`)
  })
}

const kube = (component: string, args: string[]) => start(component, join(BIN, 'kube'), [component, ...args])

const kubectl = (...args: string[]): Promise<Finished> => scope.run(join(BIN, 'kube'), ['kubectl', ...args], { env })

/** Waits for what `done` says. @throws after two minutes, naming what it waited for. */
async function until(what: string, done: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + READY_MS
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${READY_MS / 1000} s; logs are in ${LOGS}`)
    await sleep(250)
  }
}

const CNI = {
  cniVersion: '1.0.0',
  name: 'pods',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipMasq: true,
      hairpinMode: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
}

// restrict_oom_score_adj: a container here may not lower its score, and without this no pod starts.
const containerdConfig = () => `version = 3
root = "${path('containerd')}"
state = "/run/containerd"
[grpc]
address = "/run/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "${path('cni')}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
`

const kubeletConfig = () => ({
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  failCgroupV1: false,
  cgroupDriver: 'cgroupfs',
  failSwapOn: false,
  authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: pki('ca.crt') } },
  authorization: { mode: 'Webhook' },
  tlsCertFile: pki('kubelet.crt'),
  tlsPrivateKeyFile: pki('kubelet.key'),
  clusterDNS: [NODE.address],
  clusterDomain: 'cluster.local',
  containerRuntimeEndpoint: 'unix:///run/containerd.sock',
  resolvConf: '/etc/resolv.conf',
  podLogsDir: '/var/log/pods',
  // A Secret or ConfigMap is in the pod within seconds, as it is where nodes are many.
  syncFrequency: '10s',
  evictionHard: { 'memory.available': '100Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
})

const corefile = () => `.:53 {
  bind ${NODE.address}
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${pki('coredns.kubeconfig')}
    ttl 5
  }
}
`

const KUBE_PROXY_ROLE = {
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: 'kube-proxy' },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:node-proxier' },
  subjects: [{ kind: 'User', name: 'system:kube-proxy' }],
}

function startControlPlane(): void {
  start('etcd', 'etcd', ['--data-dir', path('etcd'), '--unsafe-no-fsync', '--log-level', 'warn'])
  kube('apiserver', [
    '--etcd-servers=http://127.0.0.1:2379',
    '--service-cluster-ip-range=10.96.0.0/16',
    '--secure-port=6443',
    `--advertise-address=${NODE.address}`,
    `--tls-cert-file=${pki('apiserver.crt')}`,
    `--tls-private-key-file=${pki('apiserver.key')}`,
    `--client-ca-file=${pki('ca.crt')}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-key-file=${pki('sa.pub')}`,
    `--service-account-signing-key-file=${pki('sa.key')}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    `--kubelet-client-certificate=${pki('kubelet-client.crt')}`,
    `--kubelet-client-key=${pki('kubelet-client.key')}`,
    `--kubelet-certificate-authority=${pki('ca.crt')}`,
    `--requestheader-client-ca-file=${pki('ca.crt')}`,
    '--requestheader-allowed-names=front-proxy-client',
    `--proxy-client-cert-file=${pki('front-proxy.crt')}`,
    `--proxy-client-key-file=${pki('front-proxy.key')}`,
    '--requestheader-username-headers=X-Remote-User',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    '--allow-privileged',
    '--enable-aggregator-routing',
  ])
}

function startControllers(): void {
  const credentials = (name: string) =>
    ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'].map((flag) => `--${flag}=${pki(`${name}.kubeconfig`)}`)
  kube('controller-manager', [
    ...credentials('controller-manager'),
    '--use-service-account-credentials',
    `--service-account-private-key-file=${pki('sa.key')}`,
    `--root-ca-file=${pki('ca.crt')}`,
    `--cluster-signing-cert-file=${pki('ca.crt')}`,
    `--cluster-signing-key-file=${pki('ca.key')}`,
    '--leader-elect=false',
  ])
  kube('scheduler', [...credentials('scheduler'), '--leader-elect=false'])
}

async function startNode(): Promise<void> {
  writeFileSync(path('containerd.toml'), containerdConfig())
  writeFileSync(path('cni', '10-pods.conflist'), JSON.stringify(CNI))
  writeFileSync(path('kubelet.json'), JSON.stringify(kubeletConfig()))
  writeFileSync(path('Corefile'), corefile())
  start('containerd', join(BIN, 'containerd'), ['--config', path('containerd.toml')])
  start('coredns', join(BIN, 'coredns'), ['-conf', path('Corefile')])
  await importImages()
  // It ends where its runtime does not answer.
  kube('kubelet', [
    `--kubeconfig=${pki('kubelet.kubeconfig')}`,
    `--config=${path('kubelet.json')}`,
    `--root-dir=${path('kubelet')}`,
    `--hostname-override=${NODE.name}`,
    `--node-ip=${NODE.address}`,
  ])
  kube('proxy', [
    `--kubeconfig=${pki('proxy.kubeconfig')}`,
    '--proxy-mode=nftables',
    '--cluster-cidr=10.244.0.0/16',
    `--hostname-override=${NODE.name}`,
    // These sysctls belong to the machine outside.
    '--conntrack-max-per-core=0',
    '--conntrack-tcp-timeout-established=0',
    '--conntrack-tcp-timeout-close-wait=0',
  ])
}

/** Every archive that images.ts made. */
async function importImages(): Promise<void> {
  const ctr = (...args: string[]) => scope.run(join(BIN, 'ctr'), ['-a', '/run/containerd.sock', ...args])
  await until('containerd', async () => (await ctr('version')).code === 0)
  for (const archive of readdirSync(IMAGES).filter((name) => name.endsWith('.tar'))) {
    const { code, stderr } = await ctr('-n', 'k8s.io', 'images', 'import', '--no-unpack', join(IMAGES, archive))
    if (code !== 0) throw new Error(`image ${archive} can't be imported: ${stderr}`)
  }
}

let stopping = false
async function stop(): Promise<void> {
  stopping = true
  await scope.close()
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void stop().then(() => process.exit(130)))
}

try {
  for (const name of ['cni', 'kubelet', 'containerd']) mkdirSync(path(name), { recursive: true })
  await makePki(scope, path('pki'))
  startControlPlane()
  await startNode()
  await until('the API server', async () => (await kubectl('get', '--raw', '/readyz')).code === 0)
  startControllers()
  writeFileSync(path('kube-proxy.json'), JSON.stringify(KUBE_PROXY_ROLE))
  await kubectl('apply', '-f', path('kube-proxy.json'))
  const node = ['get', 'node', NODE.name, '-o', 'jsonpath={.status.conditions[?(@.type=="Ready")].status}']
  await until('a Ready node', async () => (await kubectl(...node)).stdout === 'True')
  console.error(`cluster: ready at ${API_SERVER}`)
  if (command.length === 0) await new Promise(() => setInterval(() => {}, 60_000))
  const [program, ...args] = command
  const child = scope.spawn(program!, args, { stdio: 'inherit', env })
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 1))
  })
} catch (error) {
  console.error(`cluster: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}
await stop()
process.exit()
