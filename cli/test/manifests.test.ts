import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { loadAccesses, UsageError } from '../manifests.ts'
import { rightManifest, wrongManifests } from './wrong-manifests.ts'

describe('manifests', () => {
  const folder = mkdtempSync(join(tmpdir(), 'agentaccess-manifests-'))
  after(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'access.yaml')
  const load = (text: string) => {
    writeFileSync(file, text)
    return loadAccesses([file])
  }
  const refused = (text: string): string => {
    try {
      load(text)
    } catch (error) {
      if (error instanceof UsageError) return error.message.replaceAll(`${file}:`, '')
      throw error
    }
    return 'accepted'
  }

  test('the right manifest is compiled, with its defaults', () => {
    const [access] = load(rightManifest)
    assert.equal(access!.name, 'orders')
    assert.deepEqual(access!.agents, [
      { name: 'claude', token: 'secret' },
      { name: 'chatgpt', clientCertificate: { commonName: 'chatgpt' } },
    ])
    assert.deepEqual(access!.target, { kind: 'postgres', host: 'orders-db', port: 5432, username: 'app', password: 'secret', tls: { mode: 'VerifyFull' } })
    assert.deepEqual(access!.recording, {
      parameters: true,
      durability: 'Written',
      results: 'Summary',
      outputCap: 1048576,
      redact: [],
      maxCommandBytes: 67108864,
      spoolQuota: 2147483648,
    })
    assert.equal(access!.suspended, false)
  })

  test('the revision changes with the policy, and not with a password', () => {
    const revision = (text: string) => load(text)[0]!.revision
    assert.equal(revision(rightManifest), revision(rightManifest.replace('password: secret', 'password: other')))
    assert.notEqual(revision(rightManifest), revision(rightManifest.replace('default: Allow', 'default: Deny')))
  })

  assert.ok(wrongManifests.length >= 40)
  for (const { name, change, errors } of wrongManifests) {
    test(`refused: ${name}`, () => {
      let text = rightManifest
      for (const [what, instead] of change) {
        assert.ok(text.includes(what), `the right manifest has no ${what}`)
        text = text.replace(what, () => instead)
      }
      assert.deepEqual(refused(text).split('\n'), errors)
    })
  }

  test('all that is wrong is said at once', () => {
    assert.equal(refused(rightManifest.replace('port: 5432', 'port: 0').replace('default: Allow', 'default: Maybe')).split('\n').length, 2)
  })
  test('what is no YAML, no known kind, or no file', () => {
    assert.match(refused('a: [1'), /^1: not YAML: /)
    assert.match(refused('kind: Pod'), /^1: kind "Pod" is not known here: expected AgentAccess or Secret$/)
    assert.match(refused(''), /^no AgentAccess in /)
    assert.throws(() => loadAccesses([join(folder, 'nope.yaml')]), /nope\.yaml can't be read: ENOENT/)
  })
  test('accesses of several namespaces, or one twice', () => {
    const [access] = rightManifest.split('---\n')
    assert.match(refused(`${rightManifest}---\n${access}`), /access shop\/orders is given twice/)
    assert.match(refused(`${rightManifest}---\n${rightManifest.replaceAll('namespace: shop', 'namespace: other')}`), /in several namespaces \(shop, other\)/)
  })
})
