import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { issueCertificate, isCurrent, makeAuthority } from '../certificates.ts'
import { certificateNames, MAX_ACCESS_NAME, serviceName, type StoredAccess } from '../desired/names.ts'
import { agentNamespaces, podNamespaces } from '../desired/rights.ts'
import { allocatePorts } from '../desired/settings-secret.ts'
import { stored } from './stored-access.ts'

describe('ports', () => {
  test('each access has one of its own, and keeps it when others come and go', () => {
    const first = allocatePorts(['a', 'b', 'c'], new Map())
    assert.equal(new Set(first.values()).size, 3)
    const second = allocatePorts(['new', 'c', 'a'], first)
    assert.equal(second.get('a'), first.get('a'))
    assert.equal(second.get('c'), first.get('c'))
    assert.equal(second.get('new'), first.get('b'))
  })

  test('of two that claim the same one, one gets another', () => {
    const ports = allocatePorts(
      ['a', 'b'],
      new Map([
        ['a', 20_000],
        ['b', 20_000],
      ]),
    )
    assert.notEqual(ports.get('a'), ports.get('b'))
  })
})

describe('names', () => {
  test("a Service's name is a DNS label for every name that an access may have", () => {
    assert.equal(serviceName('x'.repeat(MAX_ACCESS_NAME)).length, 63)
  })

  test('a certificate is for every name that agents may use', () => {
    const access = stored({ service: { type: 'LoadBalancer', names: ['orders.example.com'] } })
    const names = certificateNames('shop', [access])
    for (const name of [
      'orders-agentaccess',
      'orders-agentaccess.shop.svc',
      'orders-agentaccess.shop.svc.cluster.local',
      'orders.example.com',
      'agentaccess-proxy.shop.svc',
    ])
      assert.ok(names.includes(name), name)
  })

  test('where agents live', () => {
    const agents: StoredAccess['spec']['agents'] = [
      { name: 'a', serviceAccount: { name: 'a', namespace: 'agents', proofs: ['Pod'] } },
      { name: 'b', serviceAccount: { name: 'b', proofs: ['Token'] } },
    ]
    assert.deepEqual(podNamespaces([stored({ agents })]), ['agents'])
    assert.deepEqual(agentNamespaces([stored({ agents })]), ['agents', 'shop'])
  })
})

describe('certificates', () => {
  test('one is current until a month before its end, for just its names, and of its authority', async () => {
    const [authority, other] = await Promise.all([makeAuthority('one'), makeAuthority('two')])
    const pair = await issueCertificate(authority, 'proxy', ['a.svc', 'b.svc'])
    assert.ok(isCurrent(pair, authority, ['b.svc', 'a.svc']))
    assert.ok(!isCurrent(pair, authority, ['a.svc']))
    assert.ok(!isCurrent(pair, authority, ['a.svc', 'b.svc', 'c.svc']))
    assert.ok(!isCurrent(pair, other, ['a.svc', 'b.svc']))
    assert.ok(!isCurrent(pair, authority, ['a.svc', 'b.svc'], Date.now() + 61 * 86_400_000))
    assert.ok(!isCurrent(undefined, authority, []))
    const addresses = ['a.svc', '10.1.2.3', '2001:db8::1']
    assert.ok(isCurrent(await issueCertificate(authority, 'proxy', addresses), authority, addresses))
    assert.ok(!isCurrent(await issueCertificate(authority, 'proxy', addresses), authority, ['a.svc', '10.1.2.3', '2001:db8::2']))
    assert.ok(!isCurrent({ certificate: 'no PEM', privateKey: '' }, authority, []))
  })
})
