// What the cluster is made of, built from published sources into build/cluster/bin. Go's own caches make a second time quick.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, type Scope } from '../scope.ts'

const ROOT = join(import.meta.dirname, '../..')
export const BUILD = join(ROOT, 'build/cluster')
export const BIN = join(BUILD, 'bin')
/** Of the last run. */
export const LOGS = join(BUILD, 'log')

/** What is wanted: an API server, a node with it, kind in place of both, what tests run beside a cluster. */
export type PartSet = 'api' | 'node' | 'kind' | 'beside'

/** Programs of Debian's packages. */
const PACKAGES: Record<PartSet, Record<string, string>> = {
  api: { etcd: 'etcd-server', openssl: 'openssl' },
  beside: { psql: 'postgresql-client-15', prometheus: 'prometheus', nsenter: 'util-linux' },
  kind: {},
  node: {
    runc: 'runc',
    nft: 'nftables',
    conntrack: 'conntrack',
    buildah: 'buildah',
    mmdebstrap: 'mmdebstrap',
    ip: 'iproute2',
    '/usr/lib/cni/bridge': 'containernetworking-plugins',
  },
}

/** Published programs, at a version; the longest first. */
const MODULES: Record<PartSet, Record<string, string>> = {
  api: {},
  beside: {
    versitygw: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0',
    helm: 'helm.sh/helm/v4/cmd/helm@v4.3.1',
  },
  kind: { kind: 'sigs.k8s.io/kind@v0.33.0' },
  node: {
    containerd: 'github.com/containerd/containerd/v2/cmd/containerd@v2.2.1',
    'containerd-shim-runc-v2': 'github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v2.2.1',
    ctr: 'github.com/containerd/containerd/v2/cmd/ctr@v2.2.1',
    coredns: 'github.com/coredns/coredns@v1.14.0',
  },
}

const KUBERNETES = 'v1.36.3'
const VERSION_FLAG = `-X k8s.io/component-base/version.gitVersion=${KUBERNETES}`

interface OwnModule {
  /** Another one is built anew. */
  source: string
  args: string[]
  target: string
}

const SMALL = ['-p', '2', '-trimpath', '-ldflags=-s -w']

/** Programs of modules of our own, each a folder beside this file. */
const OWN: Record<PartSet, Record<string, OwnModule>> = {
  beside: {
    collector: { source: 'v0.162.0', args: SMALL, target: '.' },
    // Its own `replace` does not hold in `go install`: a module of ours, with the sums that it publishes.
    jaeger: { source: 'v1.76.0', args: SMALL, target: 'github.com/jaegertracing/jaeger/cmd/jaeger' },
  },
  kind: {},
  api: { kube: { source: KUBERNETES, args: ['-p', '2', '-trimpath', `-ldflags=-s -w ${VERSION_FLAG}`], target: '.' } },
  node: { pause: { source: '1', args: SMALL, target: 'main.go' } },
}

/** Installs and builds what is not there yet. @throws naming what is missing, where it can't be had. */
export async function ensureParts(scope: Scope, sets: readonly PartSet[], say: (line: string) => void): Promise<void> {
  mkdirSync(BIN, { recursive: true })
  const of = <T>(table: Record<PartSet, Record<string, T>>) => sets.flatMap((set) => Object.entries(table[set]))
  await ensurePackages(scope, Object.fromEntries(of(PACKAGES)), say)
  if (!(await findProgram('go'))) throw new Error('go is missing: the cluster is built with Go 1.26 or newer')
  for (const [name, { source, args, target }] of of(OWN))
    await build(scope, name, source, ['build', ...args, '-o', join(BIN, name), target], join(import.meta.dirname, name), say)
  for (const [name, module] of of(MODULES)) await build(scope, name, module, ['install', ...FLAGS, module], BUILD, say)
  if (sets.includes('api')) writeFileSync(join(BIN, 'kubectl'), '#!/bin/sh\nexec "$(dirname "$0")/kube" kubectl "$@"\n', { mode: 0o755 })
  else if (!(await findProgram('kubectl'))) throw new Error('kubectl is missing: https://kubernetes.io/docs/tasks/tools/')
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

async function ensurePackages(scope: Scope, packages: Record<string, string>, say: (line: string) => void): Promise<void> {
  const missing: string[] = []
  for (const [program, name] of Object.entries(packages)) {
    const there = program.startsWith('/') ? existsSync(program) : (await findProgram(program)) !== undefined
    if (!there) missing.push(name)
  }
  if (missing.length === 0) return
  const wanted = `the cluster needs Debian's ${missing.join(', ')}`
  if (!(await findProgram('apt-get')) || process.getuid?.() !== 0) throw new Error(`${wanted}: install them, or run this as root on Debian`)
  say(`installing ${missing.join(', ')}`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  await scope.run('apt-get', ['update', '-qq'], { env })
  const { code, stderr } = await scope.run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env })
  if (code !== 0) throw new Error(`${wanted}, and apt-get can't install them:\n${stderr.slice(-2000)}`)
}
