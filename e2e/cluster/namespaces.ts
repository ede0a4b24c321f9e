// A cluster of our own lives in namespaces of its own: the kernel ends every process of a PID namespace with its first.
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BUILD } from './parts.ts'

const folder = join(BUILD, 'run')

/** Pods' control groups are the machine's, not the namespace's. Deepest first: a group with groups in it can't be removed. */
function removeCgroups(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeCgroups(join(path, entry.name))
  rmdirSync(path)
}

/** Removes what a cluster leaves behind. @throws where its processes have not ended yet */
export function cleanNamespaces(): void {
  for (const controller of ['.', ...readdirSync('/sys/fs/cgroup')]) {
    const pods = join('/sys/fs/cgroup', controller, 'kubepods')
    if (existsSync(pods)) removeCgroups(pods)
  }
  rmSync(folder, { recursive: true, force: true })
}

/** Makes room for a cluster. Returns the command that starts it; what follows it is run inside. */
export function namespaceCommand(): string[] {
  mkdirSync(folder, { recursive: true })
  const namespaces = ['--mount', '--pid', '--net', '--uts', '--ipc', '--fork', '--kill-child=SIGKILL']
  const inside = ['bash', join(import.meta.dirname, 'init.sh'), folder, process.execPath, join(import.meta.dirname, 'start.ts'), folder]
  // --pdeathsig: also where the process that started it is killed.
  return ['setpriv', '--pdeathsig', 'KILL', 'unshare', ...namespaces, ...inside]
}

/** For enter.sh: who runs the cluster. */
export function noteNamespaces(pid: number): void {
  writeFileSync(join(folder, 'pid'), String(pid))
}
