// Who may do what: authors, namespace administrators, agents, and the proxies' own credentials at the bucket.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DeleteObjectCommand, GetObjectCommand, GetObjectRetentionCommand, ListObjectVersionsCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { rightManifest, wrongManifests } from '../../../cli/test/wrong-manifests.ts'
import { BUCKET, ENDPOINT } from '../bucket.ts'
import { agentAccess, type Installation } from '../installation.ts'
import { apply, eventually, kubectl, run } from '../kubectl.ts'
import { kubectlAgentaccess } from '../sessions-in-bucket.ts'

const AUTHOR = 'author'
const asAuthor = ['--as', AUTHOR]

export function protection(installed: () => Installation): void {
  test('an author without rights on a Secret is refused at apply; with them, not', async () => {
    const role = (name: string, rules: object[]) => [
      { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name, namespace: 'shop' }, rules },
      {
        apiVersion: 'rbac.authorization.k8s.io/v1',
        kind: 'RoleBinding',
        metadata: { name, namespace: 'shop' },
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
        subjects: [{ kind: 'User', name: AUTHOR }],
      },
    ]
    await apply(...role('author', [{ apiGroups: ['agentaccess.dev'], resources: ['agentaccesses'], verbs: ['*'] }]))
    const manifest = JSON.stringify(agentAccess('theirs', 'shop'))
    const tried = () => run('kubectl', ['apply', ...asAuthor, '--dry-run=server', '-f', '-'], manifest)
    const refused = await eventually('a refusal', async () => {
      const { code, stderr } = await tried()
      return code !== 0 && stderr
    })
    assert.match(refused, /may only name Secrets that its author may get, here: orders-db-agent/)
    await apply(...role('author-secrets', [{ apiGroups: [''], resources: ['secrets'], resourceNames: ['orders-db-agent'], verbs: ['get'] }]))
    await eventually('leave', async () => (await tried()).code === 0, 15)
  })

  test("a namespace's administrator changes nothing of the operator's, brings no proxy of their own, and enters none", async () => {
    await apply({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'RoleBinding',
      metadata: { name: 'admin', namespace: 'shop' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'User', name: 'admin-of-shop' }],
    })
    const asAdmin = (args: string[], input = '') => run('kubectl', ['--as', 'admin-of-shop', '-n', 'shop', ...args], input)
    await eventually('rights', async () => (await asAdmin(['get', 'pods'])).code === 0)
    const made = /made by the AgentAccess operator/
    assert.match((await asAdmin(['delete', 'service', 'orders-agentaccess'])).stderr, made)
    assert.match((await asAdmin(['annotate', 'secret', 'agentaccess-proxy', 'a=b'])).stderr, made)
    const labels = { 'app.kubernetes.io/name': 'agentaccess-proxy', 'app.kubernetes.io/managed-by': 'agentaccess-operator' }
    const container = { name: 'a', image: 'a', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }
    const restricted = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } }
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'impostor', labels }, spec: { securityContext: restricted, containers: [container] } }
    assert.match((await asAdmin(['create', '--validate=false', '-f', '-'], JSON.stringify(pod))).stderr, made)
    assert.match((await asAdmin(['exec', 'agentaccess-proxy-0', '--', 'true'])).stderr, /nobody enters a recording proxy/)
  })

  test("objects in the bucket can't be overwritten, deleted or read with the proxies' credentials", async () => {
    const { asProxy, root } = installed().bucket
    const { Versions } = await root.send(new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix: 'sessions/' }))
    const { Key, VersionId } = Versions![0]!
    const name = async (sent: Promise<unknown>) =>
      sent.then(
        () => 'done',
        (error: Error) => error.name,
      )
    assert.equal(await name(asProxy.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'other', IfNoneMatch: '*' }))), 'PreconditionFailed')
    assert.equal(await name(asProxy.send(new DeleteObjectCommand({ Bucket: BUCKET, Key, VersionId }))), 'AccessDenied')
    assert.equal(await name(asProxy.send(new GetObjectCommand({ Bucket: BUCKET, Key }))), 'AccessDenied')
  })

  test('whoever may write the bucket writes over an object and deletes it: readers still take what the proxy put', async () => {
    const { root } = installed().bucket
    const { Versions } = await root.send(new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix: 'sessions/' }))
    // One that has ended: it has a manifest.
    const folder = Versions!.find(({ Key: key }) => key!.endsWith('/manifest.json'))!.Key!.replace('manifest.json', '')
    const { Key } = Versions!.find(({ Key: key }) => key!.startsWith(folder) && key!.endsWith('.jsonl.zst'))!
    const session = Key!.split('/')[5]!
    await root.send(new PutObjectCommand({ Bucket: BUCKET, Key, Body: 'other bytes' }))
    await root.send(new DeleteObjectCommand({ Bucket: BUCKET, Key }))
    const { code, stdout, stderr } = await kubectlAgentaccess('verify', session)
    assert.match(stdout, /whole/, stderr)
    assert.equal(code, 0)
  })

  test('with a retention, nobody deletes them before its time', async () => {
    const { root } = installed().bucket
    await kubectl('patch', 'agentaccess', 'orders', '-n', 'shop', '--type=merge', '-p', '{"spec":{"recording":{"retention":"1h"}}}')
    const locked = await eventually('a locked object', async () => {
      const script = "psql 'host=orders-agentaccess.shop.svc dbname=orders user=anyone' -AtXc 'SELECT 61'"
      await run('kubectl', ['exec', '-n', 'agents', 'claude-2', '--', 'sh', '-c', script])
      const { Versions = [] } = await root.send(new ListObjectVersionsCommand({ Bucket: BUCKET, Prefix: 'sessions/' }))
      const last = Versions.toSorted((a, b) => Number(b.LastModified) - Number(a.LastModified))[0]!
      const { Retention } = await root.send(new GetObjectRetentionCommand({ Bucket: BUCKET, Key: last.Key, VersionId: last.VersionId }))
      return Retention?.Mode === 'COMPLIANCE' && last
    })
    const deleted = root.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: locked.Key, VersionId: locked.VersionId }))
    await assert.rejects(deleted, /lock|denied/i)
  })

  test('an agent can read neither the configuration nor the bucket', async () => {
    const asAgent = (...args: string[]) => run('kubectl', ['--as', 'system:serviceaccount:agents:claude', ...args])
    for (const secret of ['agentaccess-proxy', 'agentaccess-access-orders', 'orders-db-agent'])
      assert.match((await asAgent('get', 'secret', secret, '-n', 'shop')).stderr, /Forbidden/)
    const { stdout } = await run('kubectl', [
      'exec',
      '-n',
      'agents',
      'claude-2',
      '--',
      'curl',
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      `${ENDPOINT}/evidence?list-type=2`,
    ])
    assert.equal(stdout, '403')
  })

  test('wrong manifests are refused at apply, as `serve` refuses them; what only the operator can tell, is in a condition', async (t) => {
    // kubectl takes null for a field that is not there.
    const notHere = /is not enforced|Not found|is empty|: rule |redact|at most 256Mi|"null"/
    const refusedHere = wrongManifests.filter(({ errors }) => !errors.some((error) => notHere.test(error)))
    let same = 0
    for (const { name, change, errors } of refusedHere) {
      let text = rightManifest.split('---')[0]!
      for (const [what, instead] of change) text = text.replace(what, () => instead)
      const { code, stderr } = await run('kubectl', ['apply', '--dry-run=server', '-f', '-'], text)
      assert.notEqual(code, 0, `${name} is accepted`)
      if (errors.every((error) => stderr.includes(error.replace(/^\d+: /, '')))) same++
      else t.diagnostic(`${name}: ${stderr.trim().split('\n').at(-1)}`)
    }
    t.diagnostic(`${refusedHere.length} refused, ${same} of them in the very words of \`serve\``)
    assert.ok(refusedHere.length >= 15 && same >= 15, `${same} of ${refusedHere.length}`)
  })
}
