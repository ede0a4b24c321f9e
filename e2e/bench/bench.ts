// make bench: the same work direct, through PgBouncer, through a bare Node pipe and through the proxy, interleaved in one run,
// because these machines are shared and noisy: what counts is the ratios.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeRole, ROLE, TOKEN } from '../harness.ts'
import { freePort, startPostgres } from '../postgres.ts'
import { findProgram, Scope } from '../scope.ts'
import { startServe, writeManifest } from '../serve-process.ts'

const SECONDS = Number(process.env.BENCH_SECONDS ?? 4)
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 2)
const CLIENTS = (process.env.BENCH_CLIENTS ?? '1,8,32').split(',').map(Number)
const COPY_ROWS = Number(process.env.BENCH_COPY_ROWS ?? 10_000_000)

interface Way {
  name: string
  port: number
  user: string
  password: string
  /** The process in between. */
  pid?: number
}

interface Measured {
  tps: number
  medianMs: number
  p99Ms: number
  /** CPU time of the process in between, a transaction. */
  cpuUs: number
}

const scope = new Scope('bench')
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void scope.close().finally(() => process.exit(130)))

async function need(program: string, debianPackage: string): Promise<string> {
  const path = await findProgram(program)
  if (path === undefined) throw new Error(`MISSING: ${program}. On Debian: apt-get install ${debianPackage}`)
  return path
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
const environment = ({ password }: Way) => ({ ...process.env, PGPASSWORD: password, PGSSLMODE: 'disable' })

async function pgbench(program: string, way: Way, protocol: string, clients: number): Promise<Measured> {
  const logs = join(scope.folder, 'logs')
  mkdirSync(logs, { recursive: true })
  const cpuBefore = cpuUs(way)
  const { code, stdout, stderr } = await scope.run(
    program,
    [
      '-n',
      '-S',
      '-M',
      protocol,
      '-c',
      String(clients),
      '-j',
      '1',
      '-T',
      String(SECONDS),
      '-l',
      '--log-prefix',
      join(logs, 'log'),
      '-h',
      '127.0.0.1',
      '-p',
      String(way.port),
      '-U',
      way.user,
      'orders',
    ],
    { env: environment(way) },
  )
  if (code !== 0) throw new Error(`pgbench ${way.name} ${protocol} ${clients}: ${stdout}${stderr}`)
  const latencies = readdirSync(logs).flatMap((file) =>
    readFileSync(join(logs, file), 'utf8')
      .trim()
      .split('\n')
      .map((line) => Number(line.split(' ')[2]) / 1000),
  )
  rmSync(logs, { recursive: true })
  latencies.sort((a, b) => a - b)
  return {
    tps: Number(/tps = ([\d.]+)/.exec(stdout)![1]),
    medianMs: latencies[latencies.length >> 1]!,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)]!,
    cpuUs: (cpuUs(way) - cpuBefore) / latencies.length,
  }
}

async function copyOut(psql: string, way: Way): Promise<number> {
  const began = performance.now()
  const child = scope.spawn(psql, ['-h', '127.0.0.1', '-p', String(way.port), '-U', way.user, '-d', 'orders', '-qc', 'COPY big TO STDOUT'], {
    env: environment(way),
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const code = await new Promise((resolve) => child.once('exit', resolve))
  if (code !== 0) throw new Error(`COPY through ${way.name} failed`)
  return (performance.now() - began) / 1000
}

/** User and system time so far, all threads; the kernel counts in hundredths of a second. */
function cpuUs({ pid }: Way): number {
  if (pid === undefined) return 0
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

const rssMb = (pid: number) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024

/** A Node process that only passes bytes on: the floor of what a proxy in Node can do. */
async function barePipe(target: number): Promise<{ port: number; pid: number }> {
  const port = await freePort()
  const script = `
    const net = require('node:net')
    net.createServer({ noDelay: true }, (a) => {
      const b = net.connect({ port: ${target}, host: '127.0.0.1', noDelay: true })
      a.pipe(b); b.pipe(a)
      for (const [x, y] of [[a, b], [b, a]]) { x.on('error', () => y.destroy()); x.on('close', () => y.destroy()) }
    }).listen(${port}, '127.0.0.1', () => console.log('ready'))`
  const child = scope.spawn(process.execPath, ['-e', script])
  await new Promise((resolve) => child.stdout!.once('data', resolve))
  return { port, pid: child.pid! }
}

async function pgbouncer(program: string, target: number): Promise<{ port: number; pid: number }> {
  const port = await freePort()
  const folder = join(scope.folder, 'pgbouncer')
  mkdirSync(folder)
  writeFileSync(join(folder, 'users'), `"${ROLE.user}" "${ROLE.password}"\n`)
  writeFileSync(
    join(folder, 'ini'),
    `[databases]\norders = host=127.0.0.1 port=${target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nauth_type = scram-sha-256\nauth_file = ${join(folder, 'users')}\npool_mode = session\ndefault_pool_size = 100\nunix_socket_dir =\nlog_connections = 0\nlog_disconnections = 0\n`,
  )
  const asUser = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  const child = scope.spawn(program, [join(folder, 'ini')], { ...asUser, stdio: 'ignore' })
  await new Promise((resolve) => setTimeout(resolve, 500))
  return { port, pid: child.pid! }
}

async function bench(): Promise<void> {
  const [pgbenchProgram, psql, bouncer] = await Promise.all([
    need('pgbench', 'postgresql-contrib'),
    need('psql', 'postgresql-client'),
    need('pgbouncer', 'pgbouncer'),
  ])
  const server = await startPostgres(scope, { settings: { shared_buffers: '512MB', max_connections: '200', max_wal_size: '4GB', synchronous_commit: 'off' } })
  await makeRole(server)
  const role = { user: ROLE.user, password: ROLE.password }
  const direct: Way = { name: 'direct', port: server.port, ...role }
  await scope.run(pgbenchProgram, ['-i', '-q', '-s', '10', '-h', '127.0.0.1', '-p', String(server.port), '-U', ROLE.user, 'orders'], {
    env: environment(direct),
  })
  const manifest = writeManifest(
    scope,
    server.port,
    `  policy:
    rules:
      - {name: no-schema-changes, when: "command.operations.exists(o, o in ['DROP', 'TRUNCATE', 'ALTER'])", action: Deny}
      - {name: no-deletes, when: "'DELETE' in command.operations", action: Deny}
      - {name: watch-copies, when: "'COPY' in command.operations && agent.name == 'claude'", action: Alert}`,
  )
  const evidence = join(scope.folder, 'evidence')
  const serve = await startServe(scope, manifest, evidence)
  const pid = serve.process.pid!
  const ways: Way[] = [
    direct,
    { name: 'PgBouncer', ...(await pgbouncer(bouncer, server.port)), ...role },
    { name: 'bare pipe', ...(await barePipe(server.port)), ...role },
    { name: 'proxy', port: serve.port, pid, user: 'claude', password: TOKEN },
  ]
  const idle = rssMb(pid)
  console.log(
    `PostgreSQL ${server.version}, Node ${process.version}, ${SECONDS} s a run, ${ROUNDS} rounds, three rules active. tps as a share of PgBouncer's; latency added to direct, ms.\n`,
  )
  console.log(
    [
      '| protocol | clients',
      ...ways.map(({ name }) => name),
      'proxy ÷ pipe',
      'added median',
      'added p99',
      'CPU µs a transaction: PgBouncer',
      'pipe',
      'proxy |',
    ].join(' | '),
  )
  console.log(`|${' --- |'.repeat(ways.length + 8)}`)
  for (const protocol of ['simple', 'extended', 'prepared']) {
    for (const clients of CLIENTS) {
      const rounds: Measured[][] = ways.map(() => [])
      for (let round = 0; round < ROUNDS; round++) for (const [i, way] of ways.entries()) rounds[i]!.push(await pgbench(pgbenchProgram, way, protocol, clients))
      const of = (i: number, what: keyof Measured) => median(rounds[i]!.map((measured) => measured[what]))
      const shares = ways.map((_, i) => (of(i, 'tps') / of(1, 'tps')).toFixed(2))
      shares[1] = `1 (${Math.round(of(1, 'tps'))} tps)`
      console.log(
        `| ${[protocol, clients, ...shares, (of(3, 'tps') / of(2, 'tps')).toFixed(2), (of(3, 'medianMs') - of(0, 'medianMs')).toFixed(3), (of(3, 'p99Ms') - of(0, 'p99Ms')).toFixed(3), ...[1, 2, 3].map((i) => of(i, 'cpuUs').toFixed(0))].join(' | ')} |`,
      )
    }
  }
  await server.query(
    `CREATE UNLOGGED TABLE big AS SELECT g AS id, md5(g::text) || md5((-g)::text) || repeat('x', 20) AS filler FROM generate_series(1, ${COPY_ROWS}) g; ALTER TABLE big OWNER TO ${ROLE.user}`,
    [],
    'orders',
  )
  const seconds: number[][] = ways.map(() => [])
  const before = rssMb(pid)
  let peak = before
  const sampler = setInterval(() => {
    peak = Math.max(peak, rssMb(pid))
  }, 100)
  for (let round = 0; round < ROUNDS; round++) for (const [i, way] of ways.entries()) seconds[i]!.push(await copyOut(psql, way))
  clearInterval(sampler)
  console.log(
    `\nCOPY OUT of ${COPY_ROWS} rows (about ${Math.round((COPY_ROWS * 95) / 1e6)} MB): ${ways.map(({ name }, i) => `${name} ${(median(seconds[i]!) / median(seconds[0]!)).toFixed(2)}`).join(', ')} × direct (${median(seconds[0]!).toFixed(1)} s)`,
  )
  console.log(
    `RSS of the proxy: ${Math.round(idle)} MB at the start, ${Math.round(before)} MB after pgbench, ${Math.round(peak - before)} MB more while copying`,
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
