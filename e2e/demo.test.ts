// make demo: it shows what it says, and after Ctrl-C at any moment nothing of its making is left.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Random } from './random.ts'

const program = fileURLToPath(new URL('./demo/demo.ts', import.meta.url))
const random = new Random()
const INTERRUPTIONS = process.env.SOAK ? 60 : 8

/** A temporary folder of its own, so that what a demo leaves there is told from what others do. */
const temporary = mkdtempSync(join(tmpdir(), 'agentaccess-demo-test-'))
// PostgreSQL runs as another user where the test runs as root.
chmodSync(temporary, 0o755)

function startDemo() {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program], {
    env: { ...process.env, TMPDIR: temporary },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { pid: child.pid!, exited, output: () => output }
}

/** Processes whose command line or working folder speaks of the temporary folder. */
function leftProcesses(): string[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
        return line.includes(temporary) || environment.includes(`TMPDIR=${temporary}`) ? [`${pid} ${line}`] : []
      } catch {
        return []
      }
    })
}

const users = () => (process.platform === 'linux' ? readFileSync('/etc/passwd', 'utf8') : '')

describe('demo', () => {
  const before = users()
  after(() => rmSync(temporary, { recursive: true, force: true }))

  function assertNothingLeft(when: string): void {
    assert.deepEqual(leftProcesses(), [], when)
    assert.deepEqual(readdirSync(temporary), [], when)
    assert.equal(users(), before, when)
  }

  let length = 8000
  test('it shows the record, and what verify says of it and of two copies', async () => {
    const began = Date.now()
    const { exited, output } = startDemo()
    assert.equal(await exited, 0, output())
    length = Date.now() - began
    for (const expected of [
      /claude +FLAKY-123 +shop\/orders/,
      /DENIED +by rule no-schema-changes/,
      /COPY \d+/,
      /pg_sleep\(60\)/,
      /whole: \d+ events/,
      /altered: event \d+ is not the one that was recorded/,
      /PROBLEM: session [0-9a-f-]{36} is missing/,
    ]) {
      assert.match(output(), expected)
    }
    assertNothingLeft('after it ended')
  })

  test(`after Ctrl-C at ${INTERRUPTIONS} random moments nothing is left`, async () => {
    console.log(`seed ${random.seed}`)
    for (let i = 0; i < INTERRUPTIONS; i++) {
      const at = 200 + random.below(length - 200)
      const { pid, exited, output } = startDemo()
      await new Promise((resolve) => setTimeout(resolve, at))
      try {
        // As a terminal does: to the whole process group.
        process.kill(-pid, 'SIGINT')
      } catch {
        // It had ended.
      }
      await exited
      assertNothingLeft(`interrupted after ${at} ms (seed ${random.seed}):\n${output()}`)
    }
  })
})
