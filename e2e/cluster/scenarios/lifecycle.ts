// The chart: tested, upgraded from the one before, and uninstalled.
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { agentAccess, chartValues, CHART, condition, psql, SYSTEM, type Installation } from '../installation.ts'
import { apply, eventually, get, kubectl, run, succeed } from '../kubectl.ts'
import { openSession } from '../open-session.ts'
import { sessionWith, startOf } from '../sessions-in-bucket.ts'

const at = 'host=orders-agentaccess.shop.svc dbname=orders user=anyone'

interface Named {
  items: { metadata: { name: string; namespace: string } }[]
}

export function lifecycle(installed: () => Installation): void {
  test('`helm test` and the rendered manifests', async () => {
    await succeed('helm', ['test', 'agentaccess', '-n', SYSTEM])
    const rendered = await succeed('helm', ['template', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues({ 'watchNamespaces[0]': 'shop', clientCa: 'PEM' })])
    // By the API server's own schemas: a field that it does not know is an error.
    await succeed('kubectl', ['apply', '--dry-run=server', '--validate=strict', '-f', '-'], rendered)
  })

  test('`helm upgrade` upgrades the CRD, too, and disturbs no session of a proxy that stays as it is', async (context) => {
    const session = await openSession('claude-2', at)
    const folder = mkdtempSync(join(tmpdir(), 'agentaccess-chart-'))
    context.after(() => rmSync(folder, { recursive: true, force: true }))
    const next = join(folder, 'agentaccess')
    cpSync(CHART, next, { recursive: true })
    const crd = join(next, 'files/agentaccess.yaml')
    writeFileSync(crd, readFileSync(crd, 'utf8').replace('shortNames: [aa]', 'shortNames: [aa, access]'))
    await succeed('helm', ['upgrade', 'agentaccess', next, '-n', SYSTEM, ...chartValues(), '--wait', '--timeout', '120s'])
    await eventually('the new short name', async () => (await kubectl('get', 'access', '-n', 'shop')).includes('orders'))
    assert.match(await session.query("SELECT 'after the upgrade'"), /after the upgrade/)
    await session.end()
  })

  test('a value that can not be changed in a StatefulSet: it is made anew around its pods, and no session notices', async () => {
    const session = await openSession('claude-2', at)
    const size = () =>
      kubectl('get', 'statefulset', 'agentaccess-proxy', '-n', 'shop', '-o', 'jsonpath={.spec.volumeClaimTemplates[0].spec.resources.requests.storage}')
    const other = chartValues({ 'proxy.spool.size': '512Mi' })
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...other, '--wait', '--timeout', '120s'])
    await eventually('the other size', async () => (await size()) === '512Mi')
    assert.match(await session.query("SELECT 'around its pods'"), /around its pods/)
    await session.end()
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues(), '--wait', '--timeout', '120s'])
    await eventually('the first size', async () => (await size()) === '1Gi')
  })

  test('the leader is lost: another replica acts within 15 seconds', async () => {
    const holder = async () => kubectl('get', 'lease', 'agentaccess-operator', '-n', SYSTEM, '-o', 'jsonpath={.spec.holderIdentity}')
    const leader = await holder()
    const lost = Date.now()
    await kubectl('delete', 'pod', leader, '-n', SYSTEM, '--force', '--grace-period=0')
    await eventually('another leader', async () => ![leader, ''].includes(await holder()), 15)
    console.log(`    another one leads after ${((Date.now() - lost) / 1000).toFixed(1)} s`)
    await apply(agentAccess('third', 'shop'))
    await condition('third', 'shop', 'Ready', 'True')
  })

  test('with watchNamespaces the operator has rights in these only, and does its work there', async () => {
    const some = chartValues({ 'watchNamespaces[0]': 'shop', 'watchNamespaces[1]': 'agents' })
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...some, '--wait', '--timeout', '120s'])
    const asOperator = ['--as', `system:serviceaccount:${SYSTEM}:agentaccess-operator`]
    assert.equal((await run('kubectl', ['auth', 'can-i', 'get', 'secrets', '-n', 'other', ...asOperator])).stdout, 'no\n')
    await apply(agentAccess('fourth', 'shop'), agentAccess('fifth', 'other'))
    await condition('fourth', 'shop', 'Ready', 'True')
    const fourth = at.replace('orders-agentaccess', 'fourth-agentaccess')
    await eventually('a session', async () => (await psql('claude-2', fourth, '-c', 'SELECT 71')).stdout === '71\n')
    assert.equal((await get<{ status?: object }>('agentaccess', 'fifth', '-n', 'other')).status, undefined)
    await kubectl('delete', 'agentaccess', 'fifth', '-n', 'other')
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues(), '--wait', '--timeout', '120s'])
  })

  test('where TokenReview is forbidden, a token is checked by the keys that the cluster publishes', async () => {
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues({ tokenReview: 'false' }), '--wait', '--timeout', '120s'])
    const connection = 'host=orders-agentaccess.shop.svc dbname=orders user=anyone sslmode=verify-full sslrootcert=/ca/ca.crt'
    const withToken = (file: string, sql: string) =>
      run('kubectl', ['exec', '-n', 'agents', 'cursor-1', '--', 'sh', '-c', `PGPASSWORD=$(cat ${file}) psql '${connection}' -AtXc '${sql}'`])
    let number = 8100
    const reviewed = async () => {
      const sql = `SELECT ${++number}`
      const { stdout } = await withToken('/var/run/agentaccess/token', sql)
      const start = stdout === `${number}\n` && startOf(await sessionWith(sql))
      return start && start['agentaccess.agent.reviewed_by'] === 'issuer keys'
    }
    // What was reviewed before is remembered for a minute.
    await eventually('a session', reviewed, 150)
    assert.match((await withToken('/var/run/secrets/kubernetes.io/serviceaccount/token', 'SELECT 1')).stderr, /"aud" claim/)
  })

  test('`helm uninstall` stores what waits, removes what the operator made, and leaves CRD, accesses and evidence', async () => {
    assert.match((await psql('claude-2', at, '-c', "SELECT 'before the end'")).stdout, /before the end/)
    await succeed('helm', ['uninstall', 'agentaccess', '-n', SYSTEM, '--wait', '--timeout', '180s'])
    await sessionWith('before the end')
    assert.equal((await condition('orders', 'shop', 'Ready', 'False')).reason, 'Uninstalled')
    await eventually('nothing of the operator', async () => {
      const kinds = 'statefulset,service,secret,pvc,role,rolebinding,networkpolicy,job,pod,poddisruptionbudget'
      const { items } = await get<Named>(kinds, '-A', '-l', 'app.kubernetes.io/managed-by=agentaccess-operator')
      // With what it signed: the evidence can be checked afterwards, too.
      return items.map(({ metadata }) => metadata.name).join() === 'agentaccess-operator-key'
    })
    await kubectl('delete', 'agentaccess', '--all', '-n', 'shop', '--timeout=30s')
    assert.ok((await installed().telemetry.traces({ 'gen_ai.agent.name': 'claude' })).length > 0)
  })
}
