// `kubectl-agentaccess serve` as a process of its own.
import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ROLE, TOKEN } from './harness.ts'
import { stopChild, type Scope } from './scope.ts'

const program = fileURLToPath(new URL('../cli/kubectl-agentaccess.js', import.meta.url))
const cliArgs = ['--disable-warning=ExperimentalWarning', program]

export interface ServeProcess {
  port: number
  ca: string
  process: ChildProcess
  /** What it printed on stderr so far. */
  log(): string
  /** SIGTERM, and waits for its end. */
  stop(): Promise<void>
  kill(): Promise<void>
}

/** A manifest for the role and token of the harness; `spec` is YAML put into `spec:`, indented by two. */
export function writeManifest(scope: Scope, postgresPort: number, spec = ''): string {
  const path = join(scope.folder, `access-${postgresPort}.yaml`)
  writeFileSync(
    path,
    `apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccess
metadata: {name: orders, namespace: shop}
spec:
  agents: [{name: claude, token: {secretRef: {name: tokens, key: claude}}}]
  target:
    postgres: {host: 127.0.0.1, port: ${postgresPort}, database: orders, credentials: {secretRef: {name: role}}, tls: {mode: Disable}}
${spec}
---
apiVersion: v1
kind: Secret
metadata: {name: tokens, namespace: shop}
stringData: {claude: ${TOKEN}}
---
apiVersion: v1
kind: Secret
metadata: {name: role, namespace: shop}
stringData: {username: ${ROLE.user}, password: ${ROLE.password}}
`,
  )
  return path
}

export async function startServe(scope: Scope, manifest: string, evidence: string, args: string[] = []): Promise<ServeProcess> {
  const child = scope.spawn(process.execPath, [...cliArgs, 'serve', '-f', manifest, '--evidence', evidence, '--grace', '0s', ...args])
  let [out, log] = ['', '']
  child.stderr!.on('data', (chunk: Buffer) => (log += chunk.toString()))
  child.stdout!.on('data', (chunk: Buffer) => (out += chunk.toString()))
  while (!out.includes('\n')) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`serve ended: ${log}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  const { endpoint, ca } = JSON.parse(out.split('\n')[0]!) as { endpoint: string; ca: string }
  return {
    port: Number(endpoint.split(':').at(-1)),
    ca,
    process: child,
    log: () => log,
    stop: () => stopChild(child, 'SIGTERM'),
    kill: () => stopChild(child, 'SIGKILL'),
  }
}
