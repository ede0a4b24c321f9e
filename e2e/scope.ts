// What a demo or test starts and makes, and how all of it goes away again: processes first, then the folder they used.
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { constants, mkdtempSync, rmSync } from 'node:fs'
import { access } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const STOP_MS = 5000

export interface Finished {
  code: number | null
  stdout: string
  stderr: string
}

export class Scope {
  readonly folder: string
  readonly #children = new Map<ChildProcess, NodeJS.Signals>()
  #closed = false

  constructor(name: string) {
    this.folder = mkdtempSync(join(tmpdir(), `agentaccess-${name}-`))
  }

  /** Starts a process that does not outlive the scope. `stopSignal` is how it is asked to end. */
  spawn(command: string, args: readonly string[], options: SpawnOptions = {}, stopSignal: NodeJS.Signals = 'SIGTERM'): ChildProcess {
    if (this.#closed) throw new Error('stopped')
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
    this.#children.set(child, stopSignal)
    child.once('exit', () => this.#children.delete(child))
    child.once('error', () => this.#children.delete(child))
    return child
  }

  /** Runs a process to its end and returns what it printed. */
  async run(command: string, args: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
    const child = this.spawn(command, args, options)
    const output = { stdout: '', stderr: '' }
    child.stdout?.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()))
    child.stderr?.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()))
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    return { code, ...output }
  }

  /** Ends every process, then removes the folder. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#children].map(([child, signal]) => stopChild(child, signal)))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export async function stopChild(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill(signal)
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await exited
  clearTimeout(timer)
}

/** Where Debian keeps what is not on the path. */
const FOLDERS = ['/usr/sbin', '/usr/lib/postgresql/15/bin', '/usr/lib/postgresql/17/bin', '/usr/lib/postgresql/18/bin']

/** A program of the machine's; undefined where it is not installed. */
export async function findProgram(name: string): Promise<string | undefined> {
  for (const folder of [...(process.env.PATH ?? '').split(':'), ...FOLDERS]) {
    const path = join(folder, name)
    if (
      await access(path, constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return path
  }
  return undefined
}
