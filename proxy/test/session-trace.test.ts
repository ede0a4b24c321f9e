// A session as a trace: the same spans, whether it is folded at once or with a restart between any two events.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Event } from '@agentaccess/recording'
import { foldEvent, type Folded, type TraceState } from '../ship/otlp/session-trace.ts'

const session = '01980000-0000-7000-8000-000000000001'
let seq = 0
const event = (kind: string, fields: object): Event =>
  ({ kind, seq: ++seq, session, time: new Date(1_000_000 + seq * 1000).toISOString(), ...fields }) as unknown as Event

const events: Event[] = [
  event('session.started', {
    attributes: { 'gen_ai.agent.name': 'claude', 'agentaccess.task': 'T-1', 'agentaccess.traceparent': `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
  }),
  event('command', { command: 2, attributes: { 'db.query.text': 'SELECT 1; SELECT 2', 'db.operation.name': 'SELECT' } }),
  event('result', { command: 2, status: 'ok', final: false, attributes: { 'db.response.returned_rows': 1 } }),
  event('result', { command: 2, status: 'ok', final: true, attributes: { 'db.response.returned_rows': 2 } }),
  event('command', { command: 5, attributes: { 'db.query.text': 'DROP TABLE t', 'db.operation.name': 'DROP' } }),
  event('decision', { command: 5, action: 'deny', rule: 'no-drops' }),
  event('result', { command: 5, status: 'denied', final: true, attributes: { 'agentaccess.error.message': 'no' } }),
  event('task.changed', { attributes: { 'agentaccess.task': 'T-2' } }),
  event('session.ended', { by: 'client', totals: { commands: 2, denied: 1, errors: 0, rows: 3 } }),
]

function fold(restartAfter?: number): Folded {
  const folded: Folded = { spans: [], logs: [] }
  let state: TraceState | undefined
  for (const [i, one] of events.entries()) {
    state = foldEvent(state, one, folded)
    if (i === restartAfter && state) state = JSON.parse(JSON.stringify(state)) as TraceState
  }
  assert.equal(state, undefined)
  return folded
}

describe('session trace', () => {
  const whole = fold()

  test('a short span at the start, one for each command, the root at the end', () => {
    assert.deepEqual(
      whole.spans.map(({ name }) => name),
      ['session started', 'SELECT', 'DROP', 'session'],
    )
    const [started, select, drop, root] = whole.spans
    for (const span of [started!, select!, drop!]) assert.equal(span.parentSpanId, root!.spanId)
    assert.equal(new Set(whole.spans.map(({ spanId }) => spanId)).size, 4)
    assert.equal(root!.traceId, session.replaceAll('-', ''))
    assert.equal(select!.attributes['db.response.returned_rows'], 3)
    assert.equal(drop!.error, 'no')
    assert.equal(drop!.attributes['agentaccess.rule'], 'no-drops')
    assert.deepEqual(root!.link, { traceId: 'a'.repeat(32), spanId: 'b'.repeat(16) })
    assert.equal(root!.attributes['agentaccess.task'], 'T-2')
    for (const span of whole.spans) assert.equal(span.attributes['gen_ai.agent.name'], 'claude')
  })

  test('each event is a log, with the ids of its command', () => {
    assert.equal(whole.logs.length, events.length)
    assert.equal(whole.logs[1]!.spanId, whole.spans[1]!.spanId)
    assert.ok(whole.logs[5]!.severe)
  })

  test('a restart between any two events changes nothing', () => {
    for (let i = 0; i < events.length; i++) assert.deepEqual(fold(i), whole)
  })

  test('events of a session whose beginning is not known are passed over', () => {
    const folded: Folded = { spans: [], logs: [] }
    assert.equal(foldEvent(undefined, events[1]!, folded), undefined)
    assert.deepEqual(folded, { spans: [], logs: [] })
  })
})
