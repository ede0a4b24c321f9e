// Agents that an OpenID Connect issuer vouches for: a real issuer's two documents, over HTTP, and tokens that it signs.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import pg from 'pg'
import { makeRole, startHarness, type Harness } from './harness.ts'
import { Issuer } from './issuer.ts'
import { startPostgres, type PostgresServer } from './postgres.ts'
import { Scope } from './scope.ts'

const scope = new Scope('oidc')
let server: PostgresServer
let issuer: Issuer
let harness: Harness

async function connected(password: string, user = 'cursor'): Promise<pg.Client> {
  const client = new pg.Client({ host: '127.0.0.1', port: harness.port, user, password, database: 'orders' })
  client.on('error', () => {})
  await client.connect()
  return client
}

async function outcome(password: string, user?: string): Promise<string> {
  try {
    const client = await connected(password, user)
    await client.query('SELECT 1')
    await client.end()
    return 'in'
  } catch (error) {
    return (error as { detail?: string }).detail ?? (error as Error).message
  }
}

describe('OIDC', () => {
  before(async () => {
    server = await startPostgres(scope)
    await makeRole(server)
    issuer = new Issuer()
    await issuer.start()
    const agents = [{ name: 'cursor', oidc: { issuer: issuer.url, audience: 'agentaccess', subject: 'repo:acme/shop:*' } }]
    harness = await startHarness(scope, server.port, { access: { agents } })
  })
  after(async () => {
    issuer.stop()
    await harness.stop()
    await scope.close()
  })

  test("the agent's own token: in, as the agent's name or any other user", async () => {
    assert.equal(await outcome(await issuer.token()), 'in')
    assert.equal(await outcome(await issuer.token({ sub: 'repo:acme/shop:' }), 'anyone'), 'in')
  })

  test('another audience, another subject, another issuer, expired, altered, not signed: refused', async () => {
    assert.match(await outcome(await issuer.token({ aud: 'other' })), /"aud" claim/)
    assert.match(await outcome(await issuer.token({ sub: 'repo:acme/other:main' })), /subject "repo:acme\/other:main"/)
    assert.match(await outcome(await issuer.token({ iss: 'https://elsewhere.example.com' })), /no agent of this access/)
    assert.match(await outcome(await issuer.token({ exp: Math.floor(Date.now() / 1000) - 3600 })), /"exp" claim/)
    const [header, payload, signature] = (await issuer.token()).split('.') as [string, string, string]
    const other = Buffer.from(
      JSON.stringify({ ...(JSON.parse(Buffer.from(payload, 'base64url').toString()) as object), sub: 'repo:acme/shop:admin' }),
    ).toString('base64url')
    assert.match(await outcome(`${header}.${other}.${signature}`), /signature verification failed/)
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    assert.match(await outcome(`${none}.${payload}.`), /not accepted/)
    assert.match(await outcome('no token at all'), /no agent of this access/)
  })

  test('the session ends with its token', async () => {
    const client = await connected(await issuer.token({ exp: Math.floor(Date.now() / 1000) + 2 }))
    assert.equal((await client.query('SELECT 1')).rowCount, 1)
    // An error comes first, which `once` would take for its own.
    await new Promise<void>((resolve) => client.once('end', () => resolve()))
  })

  test('the issuer is down: its keys are known; a key that it has not published yet is not', async () => {
    const token = await issuer.token()
    issuer.stop()
    assert.equal(await outcome(token), 'in')
    await issuer.rotate()
    assert.match(await outcome(await issuer.token()), /can't be had|no applicable key/)
  })

  test('who it was, is in the record', async () => {
    const [first] = await harness.recorded()
    const start = first![0]!
    assert.ok(start.kind === 'session.started')
    assert.equal(start.attributes['agentaccess.agent.proof'], 'OIDC token')
    assert.equal(start.attributes['agentaccess.agent.subject'], 'repo:acme/shop:main')
    const doors = (await harness.recorded({ doors: true })).flat().filter(({ kind }) => kind === 'connection.refused')
    assert.ok(doors.length >= 7)
  })
})
