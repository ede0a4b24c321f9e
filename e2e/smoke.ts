import { mkdtempSync } from 'node:fs'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { startProxy } from '@agentaccess/proxy'
import { DirectoryStore, generateSigningKeyPem, signerFromPem, trustGiven, verifyEvidence, findSessions, readEvents } from '@agentaccess/recording'
import { startPostgres } from './postgres.ts'
const pgs = await startPostgres()
await pgs.query("create role app login password 'secret'; ")
await pgs.query("create database orders owner app")
const dir = mkdtempSync('/tmp/smoke-')
const signer = signerFromPem(generateSigningKeyPem())
const p = await startProxy({ accesses: [{ namespace: 'shop', name: 'orders', revision: 'r1', agents: [{ name: 'claude', token: 'tok' }], target: { kind: 'postgres', host: '127.0.0.1', port: pgs.port, database: 'orders', username: 'app', password: 'secret', tls: { mode: 'Disable' } }, policy: { default: 'Allow', rules: [{ name: 'no-schema', when: "command.operations.exists(o, o in ['DROP','TRUNCATE'])", action: 'Deny', message: 'schema changes go through migrations' }] }, recording: { parameters: true, durability: 'Written', maxCommandBytes: 64 << 20, spoolQuota: 2 ** 31 }, suspended: false }], listen: () => ({ host: '127.0.0.1', port: 0 }), spool: dir + '/spool', evidence: dir + '/evidence', signer, log: (l, f, m) => console.log(l, m, f) })
const port = p.endpoints[0]!.port
const psql = async (args: string[], env = {}) => { try { const r = await promisify(execFile)('psql', ['-h', '127.0.0.1', '-p', String(port), '-d', 'x', ...args], { env: { ...process.env, PGUSER: 'claude', PGPASSWORD: 'tok', PGAPPNAME: 'task:FLAKY-123', ...env }, encoding: 'utf8', timeout: 10000 }); return r.stdout + r.stderr } catch (e: any) { return 'ERR ' + e.stderr + e.stdout } }
console.log(await psql(['-c', 'create table t(a int, b text)', '-c', "insert into t select g, 'x' from generate_series(1,100) g", '-c', 'select count(*) from t', '-c', 'selec', '-c', 'drop table t', '-c', 'select 1; select 2', '-c', '\\copy t to /tmp/t.out', '-c', '\\copy t from /tmp/t.out', '-c', 'select count(*) from t where a=$1 \\bind 5 \\g', '-c', 'begin; insert into t values (1)', '-c', "alter role app password 'zz'"]))
console.log(await psql(['-c', 'begin', '-c', 'insert into t values(777)', '-c', 'drop table t', '-c', 'commit', '-c', 'select count(*) from t where a=777']))
console.log(await psql(['-c', 'select 1'], { PGPASSWORD: 'bad' }))
console.log(await psql(['-c', 'select 1'], { PGUSER: 'whoever' }))
console.log(await psql(['-c', 'select 1'], { PGUSER: 'whoever', PGPASSWORD: 'x' }))
await p.stop(1000)
const store = new DirectoryStore(dir + '/evidence')
const f = await verifyEvidence(store, { trust: trustGiven(new Map([[signer.keyId, signer.publicKey]])) })
console.log(JSON.stringify(f, null, 1))
for (const l of await findSessions(store)) { console.log('---', l.session); for await (const { bytes } of readEvents(store, l)) console.log(bytes.toString().replace(/"session":"[^"]*","prev":"[^"]*",/, '').slice(0, 400)) }
await pgs.stop()
