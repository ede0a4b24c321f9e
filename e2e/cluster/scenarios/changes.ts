// What changes while sessions run, and whom it touches.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agentAccess, agentPod, condition, psql, ROLE, type Installation } from '../installation.ts'
import { apply, eventually, get, kubectl } from '../kubectl.ts'
import { openSession } from '../open-session.ts'
import { sessionWith } from '../sessions-in-bucket.ts'

const at = (access: string) => `host=${access}-agentaccess.shop.svc dbname=orders user=anyone`

const rules = (...names: string[]) => ({
  policy: {
    rules: names.map((operation) => ({
      name: `no-${operation.toLowerCase()}`,
      when: `'${operation}' in command.operations`,
      action: 'Deny',
      message: `no ${operation} here`,
    })),
  },
})

export function changes(installed: () => Installation): void {
  test('while one session runs: a password rotated, a rule changed, an access added and one deleted; it goes on undisturbed', async () => {
    const { database } = installed()
    await agentPod('claude-2', { serviceAccount: 'claude' })
    const session = await openSession('claude-2', at('orders'))
    await session.query('BEGIN')

    await database.query(`ALTER ROLE ${ROLE.user} PASSWORD 'another-password'`)
    await condition('orders', 'shop', 'TargetReachable', 'False', 90)
    assert.match((await condition('orders', 'shop', 'Ready', 'False')).message, /password|credentials/i)
    await kubectl('patch', 'secret', 'orders-db-agent', '-n', 'shop', '-p', JSON.stringify({ stringData: { password: 'another-password' } }))
    await eventually('a session with the new password', async () => (await psql('claude-2', at('orders'), '-c', 'SELECT 21')).stdout === '21\n', 10)
    await condition('orders', 'shop', 'Ready', 'True')

    assert.match(await session.query("SELECT 'before the rule'"), /before the rule/)
    await apply(agentAccess('orders', 'shop', rules('DROP', 'DELETE')))
    await eventually(
      'the rule in force',
      async () => (await session.query('SAVEPOINT a')) !== '' && (await session.query('DELETE FROM orders WHERE false')).includes('no DELETE here'),
      10,
    )
    await session.query('ROLLBACK')

    await apply(agentAccess('second', 'shop'))
    await condition('second', 'shop', 'Ready', 'True')
    await eventually('the second access', async () => (await psql('claude-2', at('second'), '-c', 'SELECT 22')).stdout === '22\n', 10)
    const other = await openSession('claude-2', at('second'))
    await kubectl('delete', 'agentaccess', 'second', '-n', 'shop', '--timeout=30s')
    await eventually('the end of its session', async () => (await other.query('SELECT 23').catch(() => '')) === '', 10)
    const ended = await sessionWith('the access was deleted')
    assert.ok(ended.some((event) => event.kind === 'session.ended' && event.by === 'suspended'))

    assert.match(await session.query("SELECT 'still here'"), /still here/)
    await session.end()
    const events = await sessionWith('still here')
    assert.ok(events.some(({ kind }) => kind === 'policy.changed'))
    await database.query(`ALTER ROLE ${ROLE.user} PASSWORD '${ROLE.password}'`)
    await kubectl('patch', 'secret', 'orders-db-agent', '-n', 'shop', '-p', JSON.stringify({ stringData: { password: ROLE.password } }))
    await apply(agentAccess('orders', 'shop'))
  })

  test('suspended: sessions end and none begins; afterwards they do again', async () => {
    const session = await openSession('claude-2', at('orders'))
    await kubectl('patch', 'agentaccess', 'orders', '-n', 'shop', '--type=merge', '-p', '{"spec":{"suspended":true}}')
    await eventually('the end of the session', async () => (await session.query('SELECT 31').catch(() => '')) === '', 10)
    assert.match((await psql('claude-2', at('orders'), '-c', 'SELECT 32')).stderr, /suspended/)
    assert.equal((await condition('orders', 'shop', 'Ready', 'False')).reason, 'Suspended')
    await kubectl('patch', 'agentaccess', 'orders', '-n', 'shop', '--type=merge', '-p', '{"spec":{"suspended":false}}')
    await condition('orders', 'shop', 'Ready', 'True')
    await eventually('a session', async () => (await psql('claude-2', at('orders'), '-c', 'SELECT 33')).stdout === '33\n', 10)
  })

  test("what the operator made is mended, and is nobody else's to change", async () => {
    await kubectl('delete', 'service', 'orders-agentaccess', '-n', 'shop')
    await eventually('the Service again', async () => (await kubectl('get', 'service', 'orders-agentaccess', '-n', 'shop')) !== '', 10)
    await kubectl('patch', 'networkpolicy', 'agentaccess-proxy', '-n', 'shop', '--type=json', '-p', '[{"op":"remove","path":"/spec/ingress"}]')
    await eventually('the NetworkPolicy again', async () => {
      const { spec } = await get<{ spec: { ingress?: unknown[] } }>('networkpolicy', 'agentaccess-proxy', '-n', 'shop')
      return (spec.ingress ?? []).length === 2
    })
  })

  test('isolation is asked for by a NetworkPolicy, and the condition says that this network ignores it', async () => {
    const isolate = { podSelector: { matchLabels: { app: 'orders-db' } } }
    const path = '/spec/target/postgres/isolate'
    await kubectl('patch', 'agentaccess', 'orders', '-n', 'shop', '--type=json', '-p', JSON.stringify([{ op: 'add', path, value: isolate }]))
    const { message } = await condition('orders', 'shop', 'Isolated', 'False')
    assert.match(message, /reaches orders-db\.shop\.svc:5432 directly/)
    console.log('    not shown on this cluster: that a NetworkPolicy is enforced; its network ignores them')
    const { spec } = await get<{ spec: { podSelector: object; ingress: unknown[] } }>('networkpolicy', 'orders-agentaccess', '-n', 'shop')
    assert.deepEqual(spec.podSelector, isolate.podSelector)
    assert.equal(spec.ingress.length, 1)
    await kubectl('patch', 'agentaccess', 'orders', '-n', 'shop', '--type=json', '-p', JSON.stringify([{ op: 'remove', path }]))
    await eventually('no policy', async () => !(await kubectl('get', 'networkpolicy', '-n', 'shop')).includes('orders-agentaccess'))
  })

  test('an access that is wrong says so, and harms no other', async () => {
    await apply(agentAccess('broken', 'shop', { policy: { rules: [{ name: 'r', when: 'command.nonsense == 1', action: 'Deny' }] } }))
    const invalid = await condition('broken', 'shop', 'Ready', 'False')
    assert.equal(invalid.reason, 'Invalid')
    assert.match(invalid.message, /spec\.policy\.rules\[0\]\.when/)
    await apply(agentAccess('poor', 'shop', { target: { postgres: { host: 'orders-db.shop.svc', credentials: { secretRef: { name: 'not-there' } } } } }))
    const missing = await condition('poor', 'shop', 'Ready', 'False')
    assert.equal(missing.reason, 'SecretMissing')
    assert.match(missing.message, /Secret shop\/not-there does not exist/)
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'not-there', namespace: 'shop' }, stringData: { username: 'nobody', password: 'wrong' } })
    assert.match((await condition('poor', 'shop', 'TargetReachable', 'False')).message, /TLS/)
    assert.equal((await psql('claude-2', at('orders'), '-c', 'SELECT 41')).stdout, '41\n')
    await kubectl('delete', 'agentaccess', 'broken', 'poor', '-n', 'shop', '--timeout=30s')
    await kubectl('delete', 'secret', 'not-there', '-n', 'shop')
  })
}
