// An agent's session that stays open: psql in a pod, to which statements are written one after the other.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { eventually } from './kubectl.ts'

export interface OpenSession {
  /** Runs a statement and returns what psql printed for it. @throws where the session has ended */
  query(sql: string): Promise<string>
  /** Sends a statement and does not wait. */
  send(sql: string): void
  /** All that psql printed, errors included. */
  printed(): string
  /** As Ctrl-C does. */
  cancel(): Promise<void>
  end(): Promise<void>
  readonly ended: boolean
}

let serial = 0

export async function openSession(pod: string, connection: string): Promise<OpenSession> {
  const child: ChildProcess = spawn('kubectl', ['exec', '-i', '-n', 'agents', pod, '--', 'psql', connection, '-AtX'], { stdio: ['pipe', 'pipe', 'pipe'] })
  let printed = ''
  let ended = false
  child.stdout!.on('data', (chunk: Buffer) => (printed += chunk.toString()))
  child.stderr!.on('data', (chunk: Buffer) => (printed += chunk.toString()))
  child.stdin!.on('error', () => {})
  child.once('close', () => {
    ended = true
  })
  const session: OpenSession = {
    query: async (sql) => {
      const mark = `mark-${serial++}`
      const from = printed.length
      child.stdin!.write(`${sql};\n\\echo ${mark}\n`)
      await eventually(`an answer to ${sql}`, async () => ended || printed.includes(mark))
      if (!printed.includes(mark)) throw new Error(`the session has ended: ${printed.slice(from)}`)
      return printed.slice(from, printed.indexOf(mark)).trim()
    },
    send: (sql) => void child.stdin!.write(`${sql};\n`),
    printed: () => printed,
    cancel: async () => {
      // The client itself: kubectl passes no signals on.
      const killer = spawn('kubectl', [
        'exec',
        '-n',
        'agents',
        pod,
        '--',
        'sh',
        '-c',
        'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = psql ] && kill -INT ${p#/proc/}; done; true',
      ])
      await once(killer, 'close')
    },
    end: async () => {
      if (ended) return
      child.stdin!.end()
      await once(child, 'close')
    },
    get ended() {
      return ended
    },
  }
  await session.query('SELECT 0')
  return session
}
