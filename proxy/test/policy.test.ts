import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Policy } from '../decide/policy.ts'
import type { RuleConfig } from '../config.ts'
import { noFacts, type Facts } from '../decide/facts.ts'

const facts = (change: Partial<Facts> = {}): Facts => ({
  command: { text: "DELETE FROM customers WHERE name = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'", parameters: [], ...noFacts, operations: ['DELETE'] },
  agent: { name: 'claude', proof: 'shared token' },
  task: 'FLAKY-123',
  target: { kind: 'postgres', host: 'db', port: 5432, database: 'orders' },
  session: { id: 's', commands: 3, denied: 0, errors: 0, rows: 10 },
  now: new Date('2026-01-05T12:00:00Z'),
  ...change,
})

const rule = (when: string, action: RuleConfig['action'] = 'Deny', name = 'r'): RuleConfig => ({ name, when, action })
const decide = (rules: RuleConfig[], byDefault: 'Allow' | 'Deny' = 'Allow', seen = facts(), unreadable?: string) =>
  new Policy({ default: byDefault, rules }, 'rev').decide(() => seen, undefined, unreadable)

describe('policy', () => {
  const matching = [
    "'DELETE' in command.operations",
    "command.operations.exists(o, o in ['DROP', 'DELETE'])",
    "command.text.matches('(?i)customers')",
    "agent.name == 'claude' && agent.proof == 'shared token'",
    "task.startsWith('FLAKY-')",
    "target.kind == 'postgres' && target.port == 5432 && target.database == 'orders'",
    'session.commands == 3 && session.rows < 11 && session.denied + session.errors == 0',
    "now.getHours('UTC') == 12 && now.getDayOfWeek('UTC') == 1",
  ]
  for (const when of matching) test(`matches: ${when}`, () => assert.equal(decide([rule(when)]).action, 'deny'))

  test('the first match wins; no match: the default', () => {
    assert.deepEqual(decide([rule('false'), rule('true', 'Allow'), rule('true')]), { action: 'allow' })
    assert.equal(decide([rule('false')]).action, 'allow')
    assert.equal(decide([rule('false')], 'Deny').action, 'deny')
    assert.equal(decide([], 'Deny').action, 'deny')
    assert.deepEqual(decide([rule('true', 'Alert', 'look')]), { action: 'alert', rule: 'look' })
  })

  test('an error inside a rule is a denial that names it', () => {
    const decision = decide([rule("command.operations[7] == 'x'", 'Allow', 'broken')])
    assert.equal(decision.action, 'deny')
    assert.match(decision.action === 'deny' ? `${decision.rule}: ${decision.message}` : '', /^broken: rule broken failed: .*index out of bounds/)
  })

  test('what can not be read is denied where there are rules, and only there', () => {
    assert.equal(decide([rule('false')], 'Allow', facts(), 'syntax error').action, 'deny')
    assert.equal(decide([], 'Allow', facts(), 'syntax error').action, 'allow')
  })

  const remembered: [when: string, stable: boolean][] = [
    ["'DELETE' in command.operations && agent.name == 'claude' && target.database == 'orders'", true],
    ["command.operations.exists(o, o == 'DROP')", true],
    ['command.text.size() > 5', false],
    ["[command].exists(c, c.text == '')", false],
    ["'DELETE' in command.operations && session.denied > 3", false],
    ["now.getHours('UTC') < 6", false],
    ["command.operations.exists(o, task == '')", false],
  ]
  for (const [when, stable] of remembered)
    test(`decided ${stable ? 'once for the same operations' : 'for each command'}: ${when}`, () =>
      assert.equal(new Policy({ default: 'Allow', rules: [rule('false'), rule(when)] }, 'rev').stable, stable))

  const wide = (n: number) => facts({ command: { text: 'x', parameters: [], ...noFacts, tables: Array.from({ length: n }, (_, i) => `t${i}`) } })
  const costly: [when: string, seen: Facts, denied: boolean][] = [
    ['command.tables.all(a, command.tables.all(b, a != b || a == b))', wide(100), false],
    ['command.tables.all(a, command.tables.all(b, a != b || a == b))', wide(10_000), true],
    ["command.tables.map(t, t + 'x').filter(t, t.contains('1')).exists(a, command.tables.exists(b, a == b))", wide(10_000), true],
    ["command.tables.exists(t, t == 'none')", wide(10_000), false],
    ["command.text.matches('(?i)none')", facts({ command: { ...wide(1).command, text: 'x'.repeat(100_000) } }), false],
    ["command.text.matches('(a?){300}a{300}')", facts({ command: { ...wide(1).command, text: 'a'.repeat(1_000_000) } }), true],
    [
      "command.parameters.exists(p, command.parameters.exists(q, p.contains(q + 'y')))",
      facts({ command: { ...wide(1).command, parameters: Array<string>(60).fill('x'.repeat(100_000)) } }),
      true,
    ],
  ]
  for (const [when, seen, denied] of costly)
    test(`${denied ? 'too much work' : 'not too much work'}: ${when}`, () => {
      const decision = decide([rule(`(${when}) && false`)], 'Allow', seen)
      assert.equal(decision.action, denied ? 'deny' : 'allow')
      if (decision.action === 'deny') assert.match(decision.message, /too much work for a command of this size/)
    })

  test('a rule that is too much work for any command is refused', () => {
    const nested = Array.from({ length: 5 }, (_, i) => `command.tables.all(v${i}, `).join('')
    assert.throws(() => decide([rule(`${nested}true${')'.repeat(5)}`)]), /too much work for every command/)
  })

  test('a pattern that would take for ever takes no time', () => {
    const began = performance.now()
    assert.equal(decide([rule("command.text.matches('^.*(a+)+$')")]).action, 'allow')
    // JavaScript's own engine needs longer than the age of the universe.
    assert.ok(performance.now() - began < 5000)
  })
})
