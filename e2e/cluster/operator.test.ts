// AgentAccess on a real cluster, as a platform team and its agents see it.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { findSessions, readEvents, type Event } from '@agentaccess/recording'
import { S3Reader } from '@agentaccess/recording/s3'
import { gists } from '../harness.ts'
import { Scope } from '../scope.ts'
import { BUCKET, ENDPOINT, readerCredentials } from './bucket.ts'
import { agentAccess, agentPod, condition, install, psql, type Installation } from './installation.ts'
import { apply, eventually, kubectl } from './kubectl.ts'
import { tagOf } from './telemetry.ts'

const scope = new Scope('operator')
let installation: Installation

const store = new S3Reader({ bucket: BUCKET, prefix: '', endpoint: ENDPOINT, region: 'us-east-1', credentials: readerCredentials, objectLock: 'none' })

/** Sessions in the bucket, the oldest first; door sessions with `doors`. */
async function sessions(doors = false): Promise<Event[][]> {
  const all: Event[][] = []
  for (const location of await findSessions(store)) {
    const events: Event[] = []
    for await (const { event } of readEvents(store, location)) events.push(event)
    if (events[0]?.kind === 'session.started' && (events[0].attributes['agentaccess.door'] === true) === doors) all.push(events)
  }
  return all.sort((a, b) => (a[0]!.session < b[0]!.session ? -1 : 1))
}

const startOf = (events: Event[]) => (events[0]?.kind === 'session.started' ? events[0].attributes : {})

const endpoint = 'host=orders-agentaccess.shop.svc dbname=orders'

describe('on a cluster', { timeout: 600_000 }, () => {
  before(async () => {
    installation = await install(scope)
  })
  after(async () => {
    await scope.close()
  })

  test('an access is ready within ten seconds, with an endpoint', async () => {
    await apply(agentAccess('orders', 'shop'))
    await condition('orders', 'shop', 'Ready', 'True', 60)
    assert.match(await kubectl('get', 'agentaccess', '-n', 'shop'), /orders-agentaccess\.shop\.svc:5432/)
  })

  test('a pod with no secret of its own is known by its ServiceAccount; the task by its label', async () => {
    await agentPod('claude-1', { serviceAccount: 'claude', labels: { 'agentaccess.dev/task': 'FLAKY-123' } })
    const { stdout, stderr } = await psql('claude-1', `${endpoint} user=anyone`, '-c', 'SELECT item FROM orders', '-c', 'SELECT current_user')
    assert.equal(stdout, 'tea\napp\n', stderr)
    const denied = await psql('claude-1', `${endpoint} user=anyone`, '-c', 'DROP TABLE orders')
    assert.match(denied.stderr, /schema changes go through migrations/)
    const [first] = await eventually('two sessions in the bucket', async () => {
      const found = (await sessions()).filter((events) => events.some(({ kind }) => kind === 'session.ended'))
      return found.length >= 2 && found
    })
    const start = startOf(first!)
    assert.equal(start['gen_ai.agent.name'], 'claude')
    assert.equal(start['agentaccess.agent.proof'], 'calling pod')
    assert.equal(start['agentaccess.task'], 'FLAKY-123')
    assert.equal(start['agentaccess.task.standing'], 'attested')
    assert.deepEqual(gists(first!), [
      'command SELECT item FROM orders',
      'result ok SELECT 1',
      'command SELECT current_user',
      'result ok SELECT 1',
      'ended by client',
    ])
    assert.ok(installation.database.log().includes('SELECT item FROM orders'))
    assert.ok(!installation.database.log().includes('DROP TABLE'))
    for (const tags of [{ 'gen_ai.agent.name': 'claude' }, { 'agentaccess.task': 'FLAKY-123' }]) {
      const traces = await eventually(`traces with ${JSON.stringify(tags)}`, async () => {
        const found = await installation.telemetry.traces(tags)
        return found.length >= 2 && found.every((spans) => spans.length >= 3) && found
      })
      const spans = traces.flat()
      assert.ok(spans.some((span) => tagOf(span, 'db.query.text') === 'SELECT item FROM orders' && tagOf(span, 'db.response.returned_rows') === 1))
      assert.ok(spans.some((span) => tagOf(span, 'db.query.text') === 'DROP TABLE orders' && tagOf(span, 'agentaccess.rule') === 'no-drops'))
      assert.ok(spans.some(({ operationName }) => operationName === 'session started'))
    }
    await eventually('logs of the same', async () => installation.telemetry.logs().includes('SELECT item FROM orders'))
  })
})
