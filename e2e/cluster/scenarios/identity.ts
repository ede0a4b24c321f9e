// Who an agent is on a cluster: by its pod, by its token; and who is nobody.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gists } from '../../harness.ts'
import { agentAccess, agentPod, condition, psql, SYSTEM, type Installation } from '../installation.ts'
import { apply, eventually, kubectl, run } from '../kubectl.ts'
import { kubectlAgentaccess, refusalWith, sessionWith, startOf } from '../sessions-in-bucket.ts'
import { tagOf } from '../telemetry.ts'

const endpoint = 'host=orders-agentaccess.shop.svc dbname=orders user=anyone'
const verified = `${endpoint} sslmode=verify-full sslrootcert=/ca/ca.crt`

export function identity(installed: () => Installation): void {
  test('an access is ready within ten seconds, with an endpoint', async () => {
    const before = Date.now()
    await apply(agentAccess('orders', 'shop'))
    await condition('orders', 'shop', 'Ready', 'True')
    assert.match(await kubectl('get', 'agentaccess', '-n', 'shop'), /orders-agentaccess\.shop\.svc:5432/)
    console.log(`    ready after ${((Date.now() - before) / 1000).toFixed(1)} s`)
  })

  test('a pod with no secret of its own is known by its ServiceAccount; the task by its label', async () => {
    const { database } = installed()
    await agentPod('claude-1', { serviceAccount: 'claude', labels: { 'agentaccess.dev/task': 'FLAKY-123' } })
    const { stdout, stderr } = await psql('claude-1', endpoint, '-c', 'SELECT item FROM orders', '-c', 'SELECT current_user')
    assert.equal(stdout, 'tea\napp\n', stderr)
    const denied = await psql('claude-1', endpoint, '-c', 'DROP TABLE orders')
    assert.match(denied.stderr, /schema changes go through migrations/)
    const events = await sessionWith('SELECT item FROM orders')
    const start = startOf(events)
    assert.equal(start['gen_ai.agent.name'], 'claude')
    assert.equal(start['agentaccess.agent.proof'], 'calling pod')
    assert.equal(start['k8s.pod.name'], 'claude-1')
    assert.equal(start['agentaccess.task'], 'FLAKY-123')
    assert.equal(start['agentaccess.task.standing'], 'attested')
    const wanted = ['command SELECT item FROM orders', 'result ok SELECT 1', 'command SELECT current_user', 'result ok SELECT 1', 'ended by client']
    assert.deepEqual(gists(events), wanted)
    assert.ok(database.log().includes('SELECT item FROM orders'))
    assert.ok(!database.log().includes('DROP TABLE'))
  })

  test('Jaeger finds the sessions by agent and by task, command by command', async () => {
    const { telemetry } = installed()
    for (const tags of [{ 'gen_ai.agent.name': 'claude' }, { 'agentaccess.task': 'FLAKY-123' }]) {
      const spans = await eventually(`traces with ${JSON.stringify(tags)}`, async () => {
        const found = await telemetry.traces(tags)
        return found.length >= 2 && found.every((trace) => trace.length >= 3) && found.flat()
      })
      assert.ok(spans.some((span) => tagOf(span, 'db.query.text') === 'SELECT item FROM orders' && tagOf(span, 'db.response.returned_rows') === 1))
      assert.ok(spans.some((span) => tagOf(span, 'db.query.text') === 'DROP TABLE orders' && tagOf(span, 'agentaccess.rule') === 'no-drops'))
      assert.ok(spans.some(({ operationName }) => operationName === 'session started'))
    }
    await eventually('logs of the same', async () => telemetry.logs().includes('SELECT item FROM orders'))
  })

  test('Prometheus has counts, times and lag, by access, and no ids or SQL', async () => {
    const { telemetry } = installed()
    const value = async (query: string) => (await telemetry.query(query)).reduce((sum, series) => sum + series.value, 0)
    await eventually('the commands', async () => (await value('agentaccess_commands_total{access="shop/orders"}')) >= 3)
    assert.ok((await value('agentaccess_denied_total{access="shop/orders"}')) >= 1)
    assert.ok((await value('agentaccess_added_seconds_count{access="shop/orders"}')) >= 1)
    assert.equal(await value('agentaccess_storing{namespace="shop"}'), 1)
    assert.equal(await value('agentaccess_operator_leader'), 1)
    const series = await telemetry.query('{__name__=~"agentaccess_.*"}')
    const labels = new Set(series.flatMap((one) => Object.keys(one.labels)))
    assert.deepEqual([...labels].sort(), ['__name__', 'access', 'instance', 'job', 'le', 'namespace', 'pod', ...(labels.has('what') ? ['what'] : [])])
    const idle = await value('process_resident_memory_bytes{namespace="shop"}')
    console.log(`    a proxy takes ${(idle / 1e6).toFixed(0)} MB`)
    assert.ok(idle <= 140e6, `${idle} bytes`)
  })

  test('a token for this namespace, over verified TLS; `kubectl agentaccess` finds evidence and keys by itself', async () => {
    await agentPod('cursor-1', { serviceAccount: 'cursor', audience: 'agentaccess.dev/shop' })
    const script = `PGPASSWORD=$(cat /var/run/agentaccess/token) psql '${verified} application_name=task:ORD-7' -AtXc 'SELECT 7'`
    const { stdout, stderr } = await run('kubectl', ['exec', '-n', 'agents', 'cursor-1', '--', 'sh', '-c', script])
    assert.equal(stdout, '7\n', stderr)
    const start = startOf(await sessionWith('SELECT 7'))
    assert.equal(start['gen_ai.agent.name'], 'cursor')
    assert.equal(start['agentaccess.agent.proof'], 'ServiceAccount token')
    assert.equal(start['agentaccess.task'], 'ORD-7')
    assert.equal(start['agentaccess.task.standing'], 'claimed')
    const listed = await kubectlAgentaccess('sessions', '--agent', 'cursor')
    assert.match(listed.stdout, /cursor +ORD-7 +shop\/orders/, listed.stderr)
    await eventually('a countersigned head', async () =>
      (await kubectl('get', 'configmap', 'agentaccess-ledger-heads-shop', '-n', SYSTEM, '-o', 'jsonpath={.data}')).includes('"sig'),
    )
    const verify = await kubectlAgentaccess('verify', '--all')
    assert.match(verify.stdout, /whole/, verify.stderr)
    assert.doesNotMatch(verify.stdout, /PROBLEM|altered|signer not checked/)
  })

  test("a token of another namespace, no token, a stranger's pod, a pod on the host network: refused and recorded", async () => {
    await apply(agentAccess('orders', 'other'))
    await condition('orders', 'other', 'Ready', 'True')
    const elsewhere = verified.replace('.shop.', '.other.')
    const script = (connection: string) => `PGPASSWORD=$(cat /var/run/agentaccess/token) psql '${connection}' -AtXc 'SELECT 8'`
    const other = await run('kubectl', ['exec', '-n', 'agents', 'cursor-1', '--', 'sh', '-c', script(elsewhere)])
    assert.match(other.stderr, /does not accept the token for audience agentaccess\.dev\/other/)
    await refusalWith('does not accept the token for audience agentaccess.dev/other')
    await agentPod('stranger-1', { serviceAccount: 'stranger' })
    const stranger = await psql('stranger-1', endpoint.replace('user=anyone', 'user=claude'), '-c', 'SELECT 9')
    assert.match(stranger.stderr, /ServiceAccount agents\/stranger is no agent of this access/)
    await refusalWith('ServiceAccount agents/stranger is no agent')
    await agentPod('host-1', { serviceAccount: 'claude', hostNetwork: true })
    const host = await psql('host-1', endpoint.replace('user=anyone', 'user=claude'), '-c', 'SELECT 9')
    assert.match(host.stderr, /host network|no running pod/)
    // On its own node it comes from the bridge's address, from another one from the node's.
    await refusalWith('no running pod of the agents')
  })
}
