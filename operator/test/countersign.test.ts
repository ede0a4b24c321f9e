import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseHead, signedSeq } from '../countersign.ts'

const spool = '8f23c255-edaf-480c-be90-64f1b74dd48d'
const hash = 'a'.repeat(64)

describe('countersigned heads', () => {
  test('what a proxy calls a head is one, or is not signed', () => {
    assert.deepEqual(parseHead(`${spool}:31:${hash}`), { head: `${spool}:31:${hash}`, spool, seq: 31 })
    for (const bad of [undefined, 7, '', `operator.pem:1:${hash}`, `${spool}:-1:${hash}`, `${spool}:1:${hash}\n`, `${spool}:1:${hash}0`, `x${spool}:1:${hash}`])
      assert.equal(parseHead(bad), undefined)
  })

  test('up to where a ledger is signed', () => {
    assert.equal(signedSeq(undefined), 0)
    assert.equal(signedSeq(JSON.stringify({ head: `${spool}:31:${hash}` })), 31)
  })
})
