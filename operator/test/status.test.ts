import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { AccessConfig } from '@agentaccess/proxy/config'
import type { AskedProxy } from '../proxy-states.ts'
import { differs, statusOf, type Condition, type StatusInput } from '../status.ts'
import { stored } from './stored-access.ts'

type State = NonNullable<AskedProxy['state']>

const own = {
  access: 'shop/orders',
  port: 20_000,
  activeSessions: 2,
  waitingBytes: 0,
  spoolQuota: 1000,
  counts: { sessions: 2, commands: 5, denied: 0, errors: 0, recordedBytes: 10 },
}
const state = (more: Partial<State> = {}): State => ({
  accesses: [own],
  settled: true,
  lagSeconds: 0,
  storeFailures: 0,
  storing: true,
  targets: { 'shop/orders': 'reachable' },
  ...more,
})
const proxy = (more: Partial<State> = {}, ready = true): AskedProxy => ({ pod: 'agentaccess-proxy-0', ready, state: state(more) })
const input = (more: Partial<StatusInput> = {}): StatusInput => ({
  access: stored(),
  outcome: { config: {} as AccessConfig },
  proxies: [proxy()],
  spoolIsDurable: true,
  now: new Date('2026-01-01T00:00:00Z'),
  ...more,
})
const conditionOf = (more: Partial<StatusInput>, type: Condition['type']) => statusOf(input(more)).conditions.find((condition) => condition.type === type)!

describe('status', () => {
  test('all is well', () => {
    const status = statusOf(input({ proxies: [proxy(), proxy()] }))
    assert.equal(status.endpoint, 'orders-agentaccess.shop.svc:5432')
    assert.equal(status.activeSessions, 4)
    assert.equal(status.observedGeneration, 3)
    assert.deepEqual(
      status.conditions.map(({ type, status: is }) => [type, is]),
      [
        ['Ready', 'True'],
        ['TargetReachable', 'True'],
        ['Recording', 'True'],
      ],
    )
  })

  const cases: [name: string, more: Partial<StatusInput>, type: Condition['type'], is: string, reason: string, message: RegExp][] = [
    ['what is wrong closes it', { outcome: { errors: ['spec.x: Invalid value', 'spec.y: Required value'] } }, 'Ready', 'False', 'Invalid', /spec\.x.*spec\.y/],
    [
      'a Secret that is not there',
      { outcome: { errors: ['spec.a: Not found: Secret shop/role does not exist'] } },
      'Ready',
      'False',
      'SecretMissing',
      /shop\/role/,
    ],
    ['suspended', { access: stored({ suspended: true }) }, 'Ready', 'False', 'Suspended', /suspended/],
    ['no proxy yet', { proxies: [] }, 'Ready', 'False', 'NoProxy', /no pod/],
    ['a proxy that does not answer', { proxies: [{ pod: 'p', ready: false, state: undefined }] }, 'Ready', 'False', 'NotListening', /p does not answer/],
    ['a proxy that no Service leads to', { proxies: [proxy({}, false)] }, 'Ready', 'False', 'NotListening', /not ready/],
    [
      'a target that refuses the password',
      { proxies: [proxy({ targets: { 'shop/orders': { reason: 'CredentialsRefused', message: 'wrong password' } } })] },
      'Ready',
      'False',
      'TargetCredentialsRefused',
      /wrong password/,
    ],
    [
      'and its own condition',
      { proxies: [proxy({ targets: { 'shop/orders': { reason: 'CredentialsRefused', message: 'wrong password' } } })] },
      'TargetReachable',
      'False',
      'CredentialsRefused',
      /tried by agentaccess-proxy-0/,
    ],
    ['a bucket that refuses', { proxies: [proxy({ storing: 'AccessDenied' })] }, 'Recording', 'False', 'NotStored', /AccessDenied.*Sessions go on/],
    ['which does not close it', { proxies: [proxy({ storing: 'AccessDenied' })] }, 'Ready', 'True', 'Listening', /1 of 1/],
    [
      'a spool that is nearly full',
      { proxies: [proxy({ accesses: [{ ...own, waitingBytes: 900 }] })] },
      'Recording',
      'False',
      'SpoolNearlyFull',
      /900 of 1000/,
    ],
    ['one that is full closes it', { proxies: [proxy({ accesses: [{ ...own, blocked: 'the quota is used up' }] })] }, 'Ready', 'False', 'Blocked', /quota/],
    ['a spool that is not durable', { spoolIsDurable: false }, 'Recording', 'True', 'SpoolNotDurable', /lost with its pod/],
  ]
  for (const [name, more, type, is, reason, message] of cases) {
    test(name, () => {
      const condition = conditionOf(more, type)
      assert.deepEqual([condition.status, condition.reason], [is, reason])
      assert.match(condition.message, message)
    })
  }

  test('a transition has its time, and keeps it; what stays the same is not written again', () => {
    const first = statusOf(input())
    const access = stored({}, first)
    const second = statusOf(input({ access, now: new Date('2026-01-02T00:00:00Z') }))
    assert.equal(second.conditions[0]!.lastTransitionTime, '2026-01-01T00:00:00.000Z')
    assert.ok(!differs(access, second))
    const third = statusOf(input({ access, proxies: [], now: new Date('2026-01-03T00:00:00Z') }))
    assert.equal(third.conditions[0]!.lastTransitionTime, '2026-01-03T00:00:00.000Z')
    assert.ok(differs(access, third))
  })
})
