// One measurement each, of one way.
import { existsSync, mkdirSync, openSync, closeSync, readFileSync, readdirSync, rmSync, fdatasyncSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Scope } from '../scope.ts'
import { build, WireClient } from '../wire-client.ts'
import type { Way } from './ways.ts'

export interface Measured {
  tps: number
  medianMs: number
  p99Ms: number
  /** CPU time of the process in between, a transaction. */
  cpuUs: number
}

export const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN
export const environment = ({ password }: Way) => ({ ...process.env, PGPASSWORD: password, PGSSLMODE: 'disable' })
const address = (way: Way) => ['-h', '127.0.0.1', '-p', String(way.port), '-U', way.user]

interface PgbenchRun {
  program: string
  protocol: string
  clients: number
  seconds: number
}

export async function pgbench(scope: Scope, way: Way, { program, protocol, clients, seconds }: PgbenchRun): Promise<Measured> {
  const logs = join(scope.folder, 'logs')
  mkdirSync(logs, { recursive: true })
  const cpuBefore = cpuUs(way)
  const options = ['-n', '-S', '-M', protocol, '-c', String(clients), '-j', '1', '-T', String(seconds), '-l', '--log-prefix', join(logs, 'log')]
  const { code, stdout, stderr } = await scope.run(program, [...options, ...address(way), 'orders'], { env: environment(way) })
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

/** Connections a second: each transaction over one of its own. */
export async function connectionRate(scope: Scope, program: string, way: Way, seconds: number): Promise<number> {
  const { code, stdout, stderr } = await scope.run(program, ['-n', '-S', '-C', '-c', '8', '-j', '1', '-T', String(seconds), ...address(way), 'orders'], {
    env: environment(way),
  })
  if (code !== 0) throw new Error(`pgbench -C ${way.name}: ${stdout}${stderr}`)
  return Number(/tps = ([\d.]+)/.exec(stdout)![1])
}

/** Seconds that psql takes for a statement; its output is thrown away, its input a file where it has one. */
export async function timed(scope: Scope, psql: string, way: Way, statement: string, input?: string): Promise<number> {
  const from = input === undefined ? undefined : openSync(input, 'r')
  const began = performance.now()
  const child = scope.spawn(psql, ['-qAtc', statement, ...address(way), '-d', 'orders'], {
    env: environment(way),
    stdio: [from ?? 'ignore', 'ignore', 'inherit'],
  })
  const code = await new Promise((resolve) => child.once('exit', resolve))
  if (from !== undefined) closeSync(from)
  if (code !== 0) throw new Error(`${statement} through ${way.name} failed`)
  return (performance.now() - began) / 1000
}

/** Bytes of the process for each of so many sessions that do nothing. */
export async function idleSessionBytes(way: Way, count: number): Promise<number> {
  const open = async () => {
    const client = await WireClient.connect(way.port, { user: 'someone', password: way.password })
    await client.ask(build.query('SELECT 1'))
    return client
  }
  const clients = [await open()]
  const before = rssMb(way.pid!)
  while (clients.length <= count) clients.push(...(await Promise.all(Array.from({ length: 10 }, open))))
  const bytes = ((rssMb(way.pid!) - before) * 1024 * 1024) / (clients.length - 1)
  for (const client of clients) await client.end()
  return bytes
}

/** Median seconds of a small write and an fdatasync in the folder. */
export function medianSync(folder: string): number {
  const fd = openSync(join(folder, 'sync-probe'), 'w')
  const seconds = Array.from({ length: 300 }, () => {
    const began = performance.now()
    writeSync(fd, Buffer.alloc(500))
    fdatasyncSync(fd)
    return (performance.now() - began) / 1000
  })
  closeSync(fd)
  return median(seconds)
}

/** How far the memory of a process goes up while something is done, MB. */
export async function growth(pid: number, run: () => Promise<unknown>): Promise<number> {
  const before = rssMb(pid)
  let peak = before
  const sampler = setInterval(() => {
    // Where the process is gone, `run` says so.
    if (existsSync(`/proc/${pid}`)) peak = Math.max(peak, rssMb(pid))
  }, 50)
  try {
    await run()
  } finally {
    clearInterval(sampler)
  }
  return peak - before
}

/** User and system time so far, all threads; the kernel counts in hundredths of a second. */
function cpuUs({ pid }: Way): number {
  if (pid === undefined) return 0
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

export const rssMb = (pid: number): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024
