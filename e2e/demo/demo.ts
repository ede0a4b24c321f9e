// make demo: the main job on real parts. A PostgreSQL, the proxy from a manifest, an unmodified client, and what is left
// when the client is gone. Everything it starts and makes is gone when it ends, however it ends.
import { fork, type ChildProcess } from 'node:child_process'
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startPostgres } from '../postgres.ts'
import { Scope, stopChild } from '../scope.ts'
import { filesBelow, rewritePart } from '../tamper.ts'

const here = dirname(fileURLToPath(import.meta.url))
const program = fileURLToPath(new URL('../../cli/kubectl-agentaccess.js', import.meta.url))
const nodeArgs = ['--disable-warning=ExperimentalWarning', program]
const scope = new Scope('demo')
const evidence = join(scope.folder, 'evidence')

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    void scope.close().finally(() => process.exit(130))
  })
}

const say = (text: string) => console.log(`\n\u2500\u2500 ${text}`)

/** Runs kubectl-agentaccess and shows what it prints. */
async function cli(args: string[], expected = 0): Promise<string> {
  console.log(`$ kubectl-agentaccess ${args.join(' ').replaceAll(scope.folder, '$DEMO')}`)
  const { code, stdout, stderr } = await scope.run(process.execPath, [...nodeArgs, ...args])
  process.stdout.write((stdout + stderr).replaceAll(scope.folder, '$DEMO'))
  console.log(`(exit status ${code})`)
  if (code !== expected) throw new Error(`expected exit status ${expected}`)
  return stdout
}

async function serve(manifest: string): Promise<{ process: ChildProcess; port: string }> {
  const child = scope.spawn(process.execPath, [...nodeArgs, 'serve', '-f', manifest, '--evidence', evidence, '--grace', '1s'])
  let [out, errors] = ['', '']
  child.stderr!.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  for await (const chunk of child.stdout! as AsyncIterable<Buffer>) {
    out += chunk.toString()
    if (out.includes('\n')) break
  }
  if (!out.includes('\n')) throw new Error(`serve did not start:\n${errors}`)
  console.log(out.replaceAll(scope.folder, '$DEMO').trimEnd())
  return { process: child, port: (JSON.parse(out) as { endpoint: string }).endpoint.split(':').at(-1)! }
}

async function demo(): Promise<void> {
  say('a real PostgreSQL, with a role for the agents')
  const postgres = await startPostgres(scope)
  await postgres.query("CREATE ROLE orders_agent LOGIN PASSWORD 'a-password-that-the-agent-never-sees'")
  await postgres.query('CREATE DATABASE orders OWNER orders_agent')
  await postgres.query('CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric)', [], 'orders')
  await postgres.query("INSERT INTO orders SELECT g, CASE WHEN g % 7 = 0 THEN 'acme' ELSE 'other' END, g FROM generate_series(1, 1000) g", [], 'orders')
  await postgres.query('ALTER TABLE orders OWNER TO orders_agent', [], 'orders')
  console.log(`PostgreSQL ${postgres.version} on port ${postgres.port}`)

  say('the proxy, from an AgentAccess manifest (e2e/demo/access.yaml)')
  const manifest = join(scope.folder, 'access.yaml')
  writeFileSync(manifest, readFileSync(join(here, 'access.yaml'), 'utf8').replace('${PORT}', String(postgres.port)))
  const proxy = await serve(manifest)

  say('agent claude works on task FLAKY-123, with an unmodified client, and is killed with SIGKILL')
  await agent(proxy.port)
  await stopChild(proxy.process, 'SIGTERM')

  say('what it did')
  const sessions = await cli(['sessions', '--evidence', evidence, '--agent', 'claude', '--task', 'FLAKY-123'])
  const ids = [...sessions.matchAll(/^[0-9a-f-]{36}/gm)].map(([id]) => id)
  const session = ids.at(-1)!
  await cli(['show', session, '--evidence', evidence])

  say('as it happened, four times as fast')
  await cli(['replay', session, '--evidence', evidence, '--speed', '4'])

  say('nobody has altered it')
  const key = ['--public-key', join(`${evidence}.spool`, 'public-key.pem')]
  await cli(['verify', '--all', '--evidence', evidence, ...key])

  say('a copy in which one byte of one event was changed, and the object packed again with care')
  const changed = copyOfEvidence('changed')
  const parts = filesBelow(changed).filter((file) => file.includes(session) && file.endsWith('.jsonl.zst'))
  if (!parts.some((part) => rewritePart(join(changed, part), (lines) => lines.replace('total = total + 1', 'total = total + 7'))))
    throw new Error('no event to change')
  await cli(['verify', session, '--evidence', changed, ...key], 1)

  say('a copy from which the session was deleted')
  const deleted = copyOfEvidence('deleted')
  for (const file of filesBelow(deleted)) if (file.includes(session)) rmSync(join(deleted, file))
  await cli(['verify', '--all', '--evidence', deleted, ...key], 1)
}

async function agent(port: string): Promise<void> {
  const child = fork(join(here, 'agent.ts'), {
    env: { ...process.env, PGPORT: port, AGENT_TOKEN: 'the-token-of-claude' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const killed = new Promise<void>((resolve) => child.once('message', () => resolve()))
  await Promise.race([killed, exited])
  if (child.exitCode !== null) throw new Error('the agent failed')
  child.kill('SIGKILL')
  await exited
}

function copyOfEvidence(name: string): string {
  const copy = join(scope.folder, name)
  cpSync(evidence, copy, { recursive: true })
  return copy
}

const began = Date.now()
try {
  await demo()
  say(`done in ${Math.round((Date.now() - began) / 1000)} s`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await scope.close()
}
