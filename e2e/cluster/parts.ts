// What the cluster is made of, built from published sources into build/cluster/bin. Go's own caches make a second time quick.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, type Scope } from '../scope.ts'

const ROOT = join(import.meta.dirname, '../..')
export const BUILD = join(ROOT, 'build/cluster')
export const BIN = join(BUILD, 'bin')
/** Of the last run. */
export const LOGS = join(BUILD, 'log')

/** Programs of Debian's packages. */
const PACKAGES: Record<string, string> = {
  etcd: 'etcd-server',
  runc: 'runc',
  nft: 'nftables',
  conntrack: 'conntrack',
  buildah: 'buildah',
  mmdebstrap: 'mmdebstrap',
  ip: 'iproute2',
  unshare: 'util-linux',
  openssl: 'openssl',
  psql: 'postgresql-client-15',
  prometheus: 'prometheus',
}
const CNI_BRIDGE = '/usr/lib/cni/bridge'

/** Published programs, at a version; the longest first. */
const MODULES: Record<string, string> = {
  containerd: 'github.com/containerd/containerd/v2/cmd/containerd@v2.2.1',
  'containerd-shim-runc-v2': 'github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v2.2.1',
  ctr: 'github.com/containerd/containerd/v2/cmd/ctr@v2.2.1',
  coredns: 'github.com/coredns/coredns@v1.14.0',
  versitygw: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0',
  helm: 'helm.sh/helm/v4/cmd/helm@v4.3.1',
}

const KUBERNETES = 'v1.36.3'
const VERSION_FLAG = `-X k8s.io/component-base/version.gitVersion=${KUBERNETES}`

/** Programs of modules of our own, each a folder beside this file. */
const OWN: Record<string, { source: string; args: string[]; target: string }> = {
  kube: { source: KUBERNETES, args: ['-p', '2', '-trimpath', `-ldflags=-s -w ${VERSION_FLAG}`], target: '.' },
  pause: { source: '1', args: ['-trimpath', '-ldflags=-s -w'], target: 'main.go' },
  // Its own `replace` does not hold in `go install`: a module of ours, with the sums that it publishes.
  jaeger: { source: 'v1.76.0', args: ['-p', '2', '-trimpath', '-ldflags=-s -w'], target: 'github.com/jaegertracing/jaeger/cmd/jaeger' },
}

/** Installs and builds what is not there yet. @throws naming what is missing, where it can't be had. */
export async function ensureParts(scope: Scope, say: (line: string) => void): Promise<void> {
  mkdirSync(BIN, { recursive: true })
  await ensurePackages(scope, say)
  if (!(await findProgram('go'))) throw new Error('go is missing: the cluster is built with Go 1.26 or newer')
  for (const [name, { source, args, target }] of Object.entries(OWN))
    await build(scope, name, source, ['build', ...args, '-o', join(BIN, name), target], join(import.meta.dirname, name), say)
  for (const [name, module] of Object.entries(MODULES)) await build(scope, name, module, ['install', ...FLAGS, module], BUILD, say)
}

const FLAGS = ['-trimpath', '-ldflags=-s -w']

/** `source` stands beside the program: another version is built anew. */
async function build(scope: Scope, name: string, source: string, args: string[], cwd: string, say: (line: string) => void): Promise<void> {
  const stamp = join(BIN, `.${name}`)
  if (existsSync(join(BIN, name)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === source) return
  say(`building ${name}`)
  const { code, stderr } = await scope.run('go', args, { cwd, env: { ...process.env, GOBIN: BIN, CGO_ENABLED: '0' } })
  if (code !== 0) throw new Error(`${name} can't be built:\n${stderr.slice(-2000)}`)
  writeFileSync(stamp, source)
}

async function ensurePackages(scope: Scope, say: (line: string) => void): Promise<void> {
  const missing: string[] = []
  for (const [program, name] of Object.entries(PACKAGES)) if (!(await findProgram(program))) missing.push(name)
  if (!existsSync(CNI_BRIDGE)) missing.push('containernetworking-plugins')
  if (missing.length === 0) return
  const wanted = `the cluster needs Debian's ${missing.join(', ')}`
  if (!(await findProgram('apt-get')) || process.getuid?.() !== 0) throw new Error(`${wanted}: install them, or run this as root on Debian`)
  say(`installing ${missing.join(', ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await scope.run('apt-get', ['update', '-qq'], { env })
  const { code, stderr } = await scope.run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env })
  if (code !== 0) throw new Error(`${wanted}, and apt-get can't install them:\n${stderr.slice(-2000)}`)
}
