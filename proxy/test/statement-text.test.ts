// The text of one statement is never taken for that of another, whatever comes between.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { parserReady } from '../protocols/postgres/sql/parser.ts'
import { TextReader } from '../protocols/postgres/statement-text.ts'
import { Redactor } from '../record/redactor.ts'

const large = (verb: string, filler: string) => Buffer.from(`${verb} FROM t WHERE a IN (${`${filler},`.repeat(20_000)}1)`)

describe('statement text', () => {
  before(() => parserReady)

  test('a large one is read elsewhere, and its answer is for it alone', async () => {
    const texts = new TextReader()
    const redactor = Redactor.none
    // As long as each other.
    const [reads, deletes] = [large('SELECT', 'b'), large('DELETE', 'c')]
    assert.equal(reads.length, deletes.length)
    assert.equal(texts.read(reads, redactor), 'hold')
    const { waiting } = texts
    // It was refused meanwhile, for its length perhaps: what comes next is something else.
    const small = texts.read(Buffer.from('DELETE FROM t'), redactor)
    assert.deepEqual(small === 'hold' ? small : small.analysis.facts.operations, ['DELETE'])
    await waiting
    assert.equal(texts.read(deletes, redactor), 'hold')
    await texts.waiting
    const read = texts.read(deletes, redactor)
    assert.deepEqual(read === 'hold' ? read : [read.analysis.facts.operations, read.text === deletes.toString()], [['DELETE'], true])
    texts.judged()
    // What it was has been remembered.
    const again = texts.read(large('SELECT', 'd').subarray(0, 20_000), redactor)
    assert.equal(again, 'hold')
    await texts.waiting
  })

  test('one that was read is remembered without its literals', async () => {
    const texts = new TextReader()
    const of = (n: number) => Buffer.from(`SELECT 1 FROM remembered WHERE a IN (${Array.from({ length: 2000 }, (_, i) => i + n).join(',')})`)
    assert.equal(texts.read(of(10_000), Redactor.none), 'hold')
    await texts.waiting
    assert.notEqual(texts.read(of(10_000), Redactor.none), 'hold')
    texts.judged()
    const known = texts.read(of(20_000), Redactor.none)
    assert.deepEqual(known === 'hold' ? known : known.analysis.facts.reads, ['remembered'])
    assert.equal(texts.read(of(30_000), new Redactor(['\\d{16}'])), 'hold', 'to look for patterns in it takes long')
    await texts.waiting
  })
})
