// What a command says, before it is in any line: redacted wherever it was cut, and no more than is asked for.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { LogWriter } from '@agentaccess/recording'
import { Account } from '../record/account.ts'
import { CommandOutput } from '../record/command-output.ts'
import { Redactor } from '../record/redactor.ts'
import { SessionRecord } from '../record/session-record.ts'

function outputOf(patterns: string[], cap?: number): { output: CommandOutput; recorded: () => string[] } {
  const lines: string[] = []
  const log = { id: 's', seq: 0, write: (kind: string, _now: number, fields: string) => lines.push(kind + fields) } as unknown as LogWriter
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
  const data = (line: string) => Buffer.from(/"data":"([^"]*)"/.exec(line)![1]!, 'base64').toString('latin1')
  return { output: new CommandOutput(record, 1, cap), recorded: () => lines.map((line) => (line.startsWith('output.capped') ? 'CAPPED' : data(line))) }
}

describe('the output of a command', () => {
  test('is redacted; what has nothing to be taken out is as it was, text or not', () => {
    const { output, recorded } = outputOf(['card-\\d+'])
    output.add('out', 0, Buffer.from('pay with card-1234 now'))
    output.add('in', 0, Buffer.from('psql postgres://app:hunter2@db/orders'))
    output.add('out', 0, Buffer.from([0xff, 0x00, 0x80, 0xfe]))
    assert.deepEqual(recorded(), ['pay with [REDACTED] now', 'psql postgres://app:[REDACTED]@db/orders', '\xff\x00\x80\xfe'])
  })

  test('what began in an earlier piece of the same stream is taken out from where the next begins', () => {
    const { output, recorded } = outputOf(['card-\\d{8}'])
    for (const [stream, text] of [
      ['in', 'x card-12'],
      ['out', '345678 is no card'],
      ['in', '34'],
      ['in', '5678, and on'],
      ['in', 'postgres://app:hun'],
      ['in', 'ter2@db'],
    ] as const)
      output.add(stream, 0, Buffer.from(text))
    assert.deepEqual(recorded(), ['x card-12', '345678 is no card', '34', '[REDACTED], and on', 'postgres://app:hun', '[REDACTED]@db'])
  })

  test('is redacted in what is no text, too, and nothing else of it changes; characters may be cut', () => {
    const { output, recorded } = outputOf(['card-\\d+', 'süß'])
    const binary = Buffer.concat([Buffer.from([0xff, 0x00, 0x80]), Buffer.from('card-12'), Buffer.from([0xfe, 0xc3, 0x28])])
    output.add('out', 0, binary)
    const cut = Buffer.from('ä süß ö')
    output.add('in', 0, cut.subarray(1, -1))
    assert.deepEqual(recorded().slice(0, 1), ['\xff\x00\x80[REDACTED]\xfe\xc3\x28'])
    assert.match(Buffer.from(recorded()[1]!, 'latin1').toString('utf8'), /^. \[REDACTED\] .$/)
  })

  test('a large piece is searched in parts that overlap', () => {
    const { output, recorded } = outputOf(['card-\\d{8}'])
    const card = 'card-12345678'
    // Wherever it is cut, what of it is in the later part is not recorded.
    const text = `${'x'.repeat(63 * 1024 - 5)}${card}${'y'.repeat(100_000)}`
    output.add('out', 0, Buffer.from(text))
    assert.equal(recorded().join(''), text.replace('12345678', '[REDACTED]'))
  })

  test('is recorded up to a cap, input to its end', () => {
    const { output, recorded } = outputOf([], 10)
    output.add('out', 0, Buffer.from('123456'))
    output.add('in', 0, Buffer.from('rm -rf everything'))
    output.add('err', 0, Buffer.from('123456'))
    output.add('out', 0, Buffer.from('more'))
    assert.deepEqual(recorded(), ['123456', 'rm -rf everything', '1234', 'CAPPED'])
    assert.deepEqual(output.bytes, { in: 17, out: 10, err: 6 })
  })
})
