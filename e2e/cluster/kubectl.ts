// kubectl and helm, as a person uses them, for tests inside the cluster.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Ran {
  code: number
  stdout: string
  stderr: string
}

/** Runs a program to its end; `input` is what it reads. */
export function run(program: string, args: readonly string[], input = ''): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : 1) : 0
      resolve({ code, stdout, stderr: error && typeof error.code !== 'number' ? `${stderr}${error.message}` : stderr })
    })
    child.stdin?.on('error', () => {})
    child.stdin?.end(input)
  })
}

/** @throws with what it printed, where it fails */
export async function succeed(program: string, args: readonly string[], input = ''): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, input)
  if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit ${code}\n${stdout}${stderr}`)
  return stdout
}

export const kubectl = (...args: string[]): Promise<string> => succeed('kubectl', args)

/** Objects, as `kubectl apply -f -` takes them. */
export const apply = (...objects: object[]): Promise<string> =>
  succeed('kubectl', ['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }))

export async function get<T>(...args: string[]): Promise<T> {
  return JSON.parse(await kubectl('get', ...args, '-o', 'json')) as T
}

/** Looks until there is something. @throws naming what it waited for, and what was there last */
export async function eventually<T>(what: string, look: () => Promise<T | undefined | false>, seconds = 60): Promise<T> {
  let last: unknown
  for (const deadline = Date.now() + seconds * 1000; Date.now() < deadline; await sleep(250)) {
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
      last = undefined
    } catch (error) {
      last = error
    }
  }
  throw new Error(`${what}: not within ${seconds} s${last instanceof Error ? `; at last: ${last.message}` : ''}`)
}
