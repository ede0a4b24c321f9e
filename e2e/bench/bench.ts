// make bench: the same work direct, through PgBouncer, through a bare Node pipe and through the proxy, interleaved in one run,
// because these machines are shared and noisy: what counts is the ratios.
import { join } from 'node:path'
import { makeRole, ROLE, TOKEN } from '../harness.ts'
import { startPostgres, type PostgresServer } from '../postgres.ts'
import { findProgram, Scope } from '../scope.ts'
import { startServe, writeManifest, type ServeProcess } from '../serve-process.ts'
import { connectionRate, environment, growth, idleSessionBytes, median, medianSync, pgbench, rssMb, timed, type Measured } from './measures.ts'
import { barePipe, pgbouncer, type Way } from './ways.ts'

const SECONDS = Number(process.env.BENCH_SECONDS ?? 4)
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 2)
const CLIENTS = (process.env.BENCH_CLIENTS ?? '1,8,32').split(',').map(Number)
const COPY_ROWS = Number(process.env.BENCH_COPY_ROWS ?? 10_000_000)
const IDLE_SESSIONS = Number(process.env.BENCH_IDLE_SESSIONS ?? 1000)

const RULES = `  policy:
    rules:
      - {name: no-schema-changes, when: "command.operations.exists(o, o in ['DROP', 'TRUNCATE', 'ALTER'])", action: Deny}
      - {name: no-deletes, when: "'DELETE' in command.operations", action: Deny}
      - {name: watch-copies, when: "'COPY' in command.operations && agent.name == 'claude'", action: Alert}`

const scope = new Scope('bench')
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void scope.close().finally(() => process.exit(130)))

async function need(program: string, debianPackage: string): Promise<string> {
  const path = await findProgram(program)
  if (path === undefined) throw new Error(`MISSING: ${program}. On Debian: apt-get install ${debianPackage}`)
  return path
}

interface Bench {
  programs: { pgbench: string; psql: string }
  server: PostgresServer
  /** Direct, PgBouncer, bare pipe, proxy: in this order. */
  ways: Way[]
  serve: ServeProcess
}

async function prepare(): Promise<Bench> {
  const [pgbenchProgram, psql, bouncer] = await Promise.all([
    need('pgbench', 'postgresql-contrib'),
    need('psql', 'postgresql-client'),
    need('pgbouncer', 'pgbouncer'),
  ])
  const settings = { shared_buffers: '512MB', max_connections: String(IDLE_SESSIONS + 200), max_wal_size: '4GB', synchronous_commit: 'off' }
  const server = await startPostgres(scope, { settings })
  await makeRole(server)
  const role = { user: ROLE.user, password: ROLE.password }
  const direct: Way = { name: 'direct', port: server.port, ...role }
  await scope.run(pgbenchProgram, ['-i', '-q', '-s', '10', '-h', '127.0.0.1', '-p', String(server.port), '-U', ROLE.user, 'orders'], {
    env: environment(direct),
  })
  const serve = await startServe(scope, writeManifest(scope, server.port, RULES), join(scope.folder, 'evidence'))
  const ways: Way[] = [
    direct,
    { name: 'PgBouncer', ...(await pgbouncer(scope, bouncer, server.port)), ...role },
    { name: 'bare pipe', ...(await barePipe(scope, server.port)), ...role },
    { name: 'proxy', port: serve.port, pid: serve.process.pid!, user: 'claude', password: TOKEN },
  ]
  return { programs: { pgbench: pgbenchProgram, psql }, server, ways, serve }
}

async function transactions({ programs, ways }: Bench): Promise<void> {
  const names = ways.map(({ name }) => name)
  console.log(`tps as a share of PgBouncer's; latency added to direct, ms; CPU time of the process in between, µs a transaction.\n`)
  const columns = ['protocol', 'clients', ...names, 'proxy ÷ pipe', 'added median', 'added p99', ...names.slice(1).map((name) => `CPU ${name}`)]
  console.log(`| ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length)}`)
  for (const protocol of ['simple', 'extended', 'prepared']) {
    for (const clients of CLIENTS) {
      const rounds: Measured[][] = ways.map(() => [])
      for (let round = 0; round < ROUNDS; round++)
        for (const [i, way] of ways.entries()) rounds[i]!.push(await pgbench(scope, way, { program: programs.pgbench, protocol, clients, seconds: SECONDS }))
      const of = (i: number, what: keyof Measured) => median(rounds[i]!.map((measured) => measured[what]))
      const shares = ways.map((_, i) => (of(i, 'tps') / of(1, 'tps')).toFixed(2))
      shares[1] = `1 (${Math.round(of(1, 'tps'))} tps)`
      const added = (what: 'medianMs' | 'p99Ms') => (of(3, what) - of(0, what)).toFixed(3)
      const cells = [
        protocol,
        clients,
        ...shares,
        (of(3, 'tps') / of(2, 'tps')).toFixed(2),
        added('medianMs'),
        added('p99Ms'),
        ...[1, 2, 3].map((i) => of(i, 'cpuUs').toFixed(0)),
      ]
      console.log(`| ${cells.join(' | ')} |`)
    }
  }
}

/** Seconds as multiples of direct's, and how far the proxy's memory went up. */
async function bulk({ programs, ways }: Bench, what: string, run: (way: Way, psql: string) => Promise<number>): Promise<void> {
  const seconds: number[][] = ways.map(() => [])
  const grown = await growth(ways[3]!.pid!, async () => {
    for (let round = 0; round < ROUNDS; round++) for (const [i, way] of ways.entries()) seconds[i]!.push(await run(way, programs.psql))
  })
  const direct = median(seconds[0]!)
  const multiples = ways.slice(1).map(({ name }, i) => `${name} ${(median(seconds[i + 1]!) / direct).toFixed(2)}`)
  console.log(`- ${what}: ${multiples.join(', ')} × direct (${direct.toFixed(2)} s); memory of the proxy +${Math.round(grown)} MB`)
}

async function large(bench: Bench): Promise<void> {
  const file = join(scope.folder, 'big')
  const create = `CREATE UNLOGGED TABLE big AS SELECT g AS id, md5(g::text) || md5((-g)::text) || repeat('x', 20) AS filler FROM generate_series(1, ${COPY_ROWS}) g`
  await bench.server.query(
    `${create}; CREATE UNLOGGED TABLE sink (id int, filler text); ALTER TABLE big OWNER TO ${ROLE.user}; ALTER TABLE sink OWNER TO ${ROLE.user}`,
    [],
    'orders',
  )
  await scope.run(bench.programs.psql, ['-qc', `\\copy big TO ${file}`, '-h', '127.0.0.1', '-p', String(bench.server.port), '-U', ROLE.user, '-d', 'orders'], {
    env: environment(bench.ways[0]!),
  })
  const size = `${COPY_ROWS} rows, about ${Math.round((COPY_ROWS * 95) / 1e6)} MB`
  console.log('')
  await bulk(bench, 'SELECT of 100,000 rows', (way, psql) => timed(scope, psql, way, 'SELECT * FROM pgbench_accounts LIMIT 100000'))
  await bulk(bench, `COPY OUT of ${size}`, (way, psql) => timed(scope, psql, way, 'COPY big TO STDOUT'))
  await bulk(bench, `COPY IN of ${size}`, async (way, psql) => {
    await bench.server.query('TRUNCATE sink', [], 'orders')
    return timed(scope, psql, way, 'COPY sink FROM STDIN', file)
  })
}

async function connections({ programs, ways }: Bench): Promise<void> {
  const rates: number[][] = ways.map(() => [])
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, way] of ways.entries()) rates[i]!.push(await connectionRate(scope, programs.pgbench, way, SECONDS))
  const bouncer = median(rates[1]!)
  console.log(
    `- connections a second: ${ways.map(({ name }, i) => `${name} ${(median(rates[i]!) / bouncer).toFixed(2)}`).join(', ')} × PgBouncer's (${Math.round(bouncer)})`,
  )
}

/** Written and Synced beside each other, and what the disk could do: with 32 clients one sync can be for all of them. */
async function synced({ programs, server, ways }: Bench): Promise<void> {
  const serve = await startServe(scope, writeManifest(scope, server.port, `${RULES}\n  recording: {durability: Synced}`), join(scope.folder, 'evidence-synced'))
  const run = { program: programs.pgbench, protocol: 'simple', clients: 32, seconds: SECONDS }
  const [written, sync]: [number[], number[]] = [[], []]
  for (let round = 0; round < ROUNDS; round++) {
    written.push((await pgbench(scope, ways[3]!, run)).tps)
    sync.push((await pgbench(scope, { ...ways[3]!, port: serve.port, pid: serve.process.pid! }, run)).tps)
  }
  const seconds = medianSync(scope.folder)
  const limit = Math.min(median(written), 32 / seconds)
  console.log(
    `- Synced, 32 clients, simple: ${(median(sync) / limit).toFixed(2)} of the smaller of Written (${Math.round(median(written))} tps) and 32 ÷ median fdatasync (${(seconds * 1000).toFixed(2)} ms)`,
  )
  await serve.stop()
}

async function bench(): Promise<void> {
  const prepared = await prepare()
  const { server, ways, serve } = prepared
  const pid = serve.process.pid!
  const idle = rssMb(pid)
  console.log(`PostgreSQL ${server.version}, Node ${process.version}, ${SECONDS} s a run, ${ROUNDS} rounds, three rules active.\n`)
  await transactions(prepared)
  const after = rssMb(pid)
  await large(prepared)
  await connections(prepared)
  await synced(prepared)
  const bytes = await idleSessionBytes(ways[3]!, IDLE_SESSIONS)
  console.log(
    `- memory of the proxy: ${Math.round(idle)} MB idle, ${Math.round(after)} MB after pgbench; ${Math.round(bytes / 1024)} KB for each of ${IDLE_SESSIONS} idle sessions`,
  )
  await serve.stop()
}

try {
  await bench()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await scope.close()
}
