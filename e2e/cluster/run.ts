// `node e2e/cluster/run.ts [COMMAND…]`: a single-node Kubernetes with COMMAND run beside it; without one it stays until Ctrl-C.
// All that it starts ends with it.
import { mkdirSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { Scope } from '../scope.ts'
import { ensureImages } from './images.ts'
import { deleteKind, dockerAnswers, startKind } from './kind.ts'
import { cleanNamespaces, namespaceCommand, noteNamespaces } from './namespaces.ts'
import { ensureParts, LOGS } from './parts.ts'

const say = (line: string) => console.error(`cluster: ${line}`)
const command = process.argv.slice(2)
const scope = new Scope('cluster-run')
let child: ReturnType<Scope['spawn']> | undefined
let interrupted = false
// In its own namespaces nothing outlives the first process; beside kind a command ends what it has started.
let ending: NodeJS.Signals = 'SIGKILL'
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    interrupted = true
    child?.kill(ending)
  })
}

async function runToEnd(program: string, args: string[], started: (pid: number) => void = () => {}): Promise<number> {
  if (interrupted) throw new Error('interrupted')
  child = scope.spawn(program, args, { stdio: 'inherit' })
  if (child.pid !== undefined) started(child.pid)
  return new Promise((resolve, reject) => {
    child!.once('error', reject)
    child!.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]))
  })
}

async function onKind(): Promise<number> {
  say('a Docker engine answers: the cluster is made by kind')
  await ensureParts(scope, ['kind', 'beside'], say)
  ending = 'SIGTERM'
  try {
    const [program, ...args] = (await startKind(scope, say)) as [string, ...string[]]
    say(`ready; a command beside it: ${[program, ...args.filter((arg) => !arg.startsWith('PATH='))].join(' ')} COMMAND`)
    return await runToEnd(program, [...args, ...(command.length > 0 ? command : ['sleep', 'infinity'])])
  } finally {
    await deleteKind(scope)
  }
}

async function inNamespaces(): Promise<number> {
  await ensureParts(scope, ['api', 'node', 'beside'], say)
  await ensureImages(scope, say)
  cleanNamespaces()
  rmSync(LOGS, { recursive: true, force: true })
  mkdirSync(LOGS, { recursive: true })
  const [program, ...args] = namespaceCommand() as [string, ...string[]]
  return runToEnd(program, [...args, ...command], noteNamespaces)
}

const kind = await dockerAnswers(scope)
try {
  process.exitCode = await (kind ? onKind() : inNamespaces())
} catch (error) {
  say(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
await scope.close()
// The kernel takes a moment to end what was in the namespaces.
for (let attempt = 0; !kind; attempt++) {
  try {
    cleanNamespaces()
    break
  } catch (error) {
    if (attempt === 20) throw error
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
