// `node e2e/cluster/run.ts [COMMAND…]`: a single-node Kubernetes in namespaces of its own, with COMMAND run inside it;
// without one it stays until Ctrl-C. All that it starts ends with it: the kernel ends every process of a PID namespace
// with its first.
import { mkdirSync, readdirSync, rmdirSync, rmSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Scope } from '../scope.ts'
import { ensureImages } from './images.ts'
import { BUILD, ensureParts, LOGS } from './parts.ts'

const say = (line: string) => console.error(`cluster: ${line}`)
const folder = join(BUILD, 'run')

/** Pods' control groups are the machine's, not the namespace's. Deepest first: a group with groups in it can't be removed. */
function removeCgroups(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeCgroups(join(path, entry.name))
  rmdirSync(path)
}

function clean(): void {
  for (const controller of ['.', ...readdirSync('/sys/fs/cgroup')]) {
    const pods = join('/sys/fs/cgroup', controller, 'kubepods')
    if (existsSync(pods)) removeCgroups(pods)
  }
  rmSync(folder, { recursive: true, force: true })
}

const scope = new Scope('cluster-run')
let unshared: ReturnType<Scope['spawn']> | undefined
let interrupted = false
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    interrupted = true
    unshared?.kill('SIGKILL')
  })
}
try {
  await ensureParts(scope, say)
  await ensureImages(scope, say)
  if (interrupted) throw new Error('interrupted')
  clean()
  rmSync(LOGS, { recursive: true, force: true })
  for (const made of [folder, LOGS]) mkdirSync(made, { recursive: true })
  const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc', '--fork', '--kill-child=SIGKILL']
  const inside = ['bash', join(import.meta.dirname, 'init.sh'), folder, process.execPath, join(import.meta.dirname, 'start.ts'), folder]
  // --pdeathsig: also where this process is killed.
  unshared = scope.spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...namespaces, ...inside, ...process.argv.slice(2)], { stdio: 'inherit' })
  writeFileSync(join(folder, 'pid'), String(unshared.pid))
  process.exitCode = await new Promise<number>((resolve, reject) => {
    unshared!.once('error', reject)
    unshared!.once('exit', (code) => resolve(code ?? 1))
  })
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
await scope.close()
// The kernel takes a moment to end what was in the namespace.
for (let attempt = 0; ; attempt++) {
  try {
    clean()
    break
  } catch (error) {
    if (attempt === 20) throw error
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
