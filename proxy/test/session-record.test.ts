// What is taken out of what a stream says, before it is in any line.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LogWriter } from '@agentaccess/recording'
import { Account } from '../record/account.ts'
import { Redactor } from '../record/redactor.ts'
import { SessionRecord } from '../record/session-record.ts'

function recordOf(patterns: string[]): { record: SessionRecord; data: () => string[] } {
  const lines: string[] = []
  const log = { id: 's', seq: 0, write: (_kind: string, _now: number, fields: string) => lines.push(fields) } as unknown as LogWriter
  const redactor = new Redactor(patterns)
  const record = new SessionRecord(
    log,
    'shop/cluster',
    new Account(),
    1,
    undefined as never,
    () => redactor,
    () => {},
    () => {},
  )
  return { record, data: () => lines.map((fields) => Buffer.from(/"data":"([^"]*)"/.exec(fields)![1]!, 'base64').toString('latin1')) }
}

describe('the record of a session', () => {
  test('streams are redacted; what has nothing to be taken out is as it was, text or not', () => {
    const { record, data } = recordOf(['card-\\d+'])
    record.output(1, 'out', 0, Buffer.from('pay with card-1234 now'))
    record.output(1, 'in', 0, Buffer.from('psql postgres://app:hunter2@db/orders'))
    record.output(1, 'out', 0, Buffer.from([0xff, 0x00, 0x80, 0xfe]))
    assert.deepEqual(data(), ['pay with [REDACTED] now', 'psql postgres://app:[REDACTED]@db/orders', '\xff\x00\x80\xfe'])
  })
})
