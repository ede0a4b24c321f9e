// What stands between client and server: nothing, PgBouncer, a bare Node pipe. The proxy is the fourth, and the only one that records.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROLE } from '../harness.ts'
import { freePort } from '../postgres.ts'
import type { Scope } from '../scope.ts'

export interface Way {
  name: string
  port: number
  user: string
  password: string
  /** The process in between. */
  pid?: number
}

/** A Node process that only passes bytes on: the floor of what a proxy in Node can do. */
export async function barePipe(scope: Scope, target: number): Promise<{ port: number; pid: number }> {
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

export async function pgbouncer(scope: Scope, program: string, target: number): Promise<{ port: number; pid: number }> {
  const port = await freePort()
  const folder = join(scope.folder, 'pgbouncer')
  mkdirSync(folder)
  writeFileSync(join(folder, 'users'), `"${ROLE.user}" "${ROLE.password}"\n`)
  writeFileSync(
    join(folder, 'ini'),
    `[databases]\norders = host=127.0.0.1 port=${target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\nauth_type = scram-sha-256\nauth_file = ${join(folder, 'users')}\npool_mode = session\ndefault_pool_size = 100\nmax_client_conn = 200\nunix_socket_dir =\nlog_connections = 0\nlog_disconnections = 0\n`,
  )
  const asUser = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
  const child = scope.spawn(program, [join(folder, 'ini')], { ...asUser, stdio: 'ignore' })
  await new Promise((resolve) => setTimeout(resolve, 500))
  return { port, pid: child.pid! }
}
