// The rules in the documentation do what it says.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const folder = mkdtempSync(join(tmpdir(), 'agentaccess-policy-docs-'))
const program = fileURLToPath(new URL('../kubectl-agentaccess.js', import.meta.url))
const manifest = /```yaml\n(apiVersion[^]*?)```/.exec(readFileSync(new URL('../../docs/policy.md', import.meta.url), 'utf8'))![1]!

function check(yaml: string, ...args: string[]): { status: number | null; out: string } {
  const file = join(folder, 'access.yaml')
  writeFileSync(file, yaml)
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', program, 'check', '-f', file, ...args], {
    encoding: 'utf8',
  })
  return { status, out: stdout + stderr }
}

describe('docs/policy.md', () => {
  after(() => rmSync(folder, { recursive: true }))

  test('its tests hold, and each of its rules has one', () => {
    const { status, out } = check(manifest)
    assert.equal(status, 0, out)
    const rules = [...manifest.matchAll(/- name: ([a-z-]+)/g)].map(([, name]) => name!)
    assert.ok(rules.length >= 12)
    for (const rule of rules.filter((name) => name !== 'enough-rows')) assert.ok(manifest.includes(`rule: ${rule}}`), `${rule} has no test`)
  })

  test('a test that does not hold is named, and the exit status is 1', () => {
    const { status, out } = check(manifest.replace('expect: Allow}', 'expect: Deny}'))
    assert.equal(status, 1)
    assert.match(out, /FAILED {2}shop\/orders {2}SELECT id FROM orders WHERE total > 10\n {8}expected Deny, got allow/)
  })

  test('--sql tells decision, rule and every variable', () => {
    const { status, out } = check(
      manifest,
      '--sql',
      'UPDATE orders SET total = $1 WHERE id = 3',
      '--parameter',
      '12',
      '--task',
      'OPS-1',
      '--now',
      '2026-03-02T10:00:00Z',
    )
    assert.equal(status, 0)
    for (const line of [
      'decision            allow',
      'rule                -',
      'command.writes      ["orders"]',
      'command.columns     ["id","total"]',
      'command.parameters  ["12"]',
      'task                "OPS-1"',
    ])
      assert.ok(out.split('\n').includes(line), `${line} is not in\n${out}`)
    const denied = JSON.parse(check(manifest, '--sql', 'DROP TABLE orders', '--agent', 'reporter', '-o', 'json').out) as { decision: unknown; agent: unknown }
    assert.deepEqual(denied.decision, { action: 'deny', rule: 'no-schema-changes', message: 'schema changes go through migrations' })
    assert.deepEqual(denied.agent, { name: 'reporter', proof: 'shared token' })
  })

  test('what is asked wrongly is said, with exit status 2', () => {
    for (const [args, message] of [
      [['--sql', 'SELECT 1', '--agent', 'nobody'], /shop\/orders has no agent nobody: there is claude, reporter/],
      [['--sql', 'SELECT 1', '--now', 'noon'], /--now noon: expected a time such as/],
      [['--access', 'other'], /--access other: there is shop\/orders/],
    ] as const) {
      const { status, out } = check(manifest, ...args)
      assert.equal(status, 2)
      assert.match(out, message)
    }
    const { status, out } = check(manifest.replace(/ {4}tests:[^]*/, ''))
    assert.equal(status, 2)
    assert.match(out, /there is nothing to check: give --sql TEXT, or write spec.policy.tests/)
  })
})
