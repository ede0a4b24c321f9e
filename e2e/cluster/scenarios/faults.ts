// What happens to the record when something breaks: the agent, the proxy, the bucket, the collector.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gists } from '../../harness.ts'
import { agentAccess, agentPod, chartValues, condition, databaseObjects, psql, CHART, SYSTEM, type Installation } from '../installation.ts'
import { apply, eventually, get, kubectl, run, succeed } from '../kubectl.ts'
import { openSession } from '../open-session.ts'
import { kubectlAgentaccess, sessionWith } from '../sessions-in-bucket.ts'

const at = (namespace: string) => `host=orders-agentaccess.${namespace}.svc dbname=orders user=anyone`

interface Named {
  items: { metadata: { name: string }; status?: { podIP?: string } }[]
}

const names = async (...args: string[]) => (await get<Named>(...args)).items.map(({ metadata }) => metadata.name)

const upgrade = (replicas: number) =>
  succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues({ 'proxy.replicas': String(replicas) }), '--wait', '--timeout', '120s'])

async function allWhole(): Promise<void> {
  const { stdout, stderr } = await kubectlAgentaccess('verify', '--all')
  assert.doesNotMatch(stdout, /PROBLEM|altered|damaged|signer not checked/, stdout + stderr)
  assert.match(stdout, /whole/, stderr)
}

export function faults(installed: () => Installation): void {
  test("the agent's pod is killed in the middle of a statement: the record is complete", async () => {
    await agentPod('victim', { serviceAccount: 'claude' })
    const session = await openSession('victim', at('shop'))
    session.send("SELECT pg_sleep(60), 'in the middle'")
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await kubectl('delete', 'pod', 'victim', '-n', 'agents', '--force', '--grace-period=0')
    const events = await sessionWith('in the middle', 60)
    assert.deepEqual(gists(events).slice(-3), ["command SELECT pg_sleep(60), 'in the middle';", 'result outcome unknown', 'ended by client'])
  })

  test("the proxy's process is killed: what it recorded is there, interrupted, and it goes on", async () => {
    const session = await openSession('claude-2', at('shop'))
    session.send("SELECT pg_sleep(60), 'under the proxy'")
    await new Promise((resolve) => setTimeout(resolve, 1000))
    await succeed('pkill', ['-9', '-f', '/app/proxy.js'])
    const events = await sessionWith('under the proxy', 90)
    assert.deepEqual(gists(events).slice(-2), ['result outcome unknown', 'ended by interrupted'])
    await eventually('sessions again', async () => (await psql('claude-2', at('shop'), '-c', 'SELECT 51')).stdout === '51\n')
  })

  test("the proxy's pod is deleted while the bucket is down: nothing is lost", async () => {
    const { bucket } = installed()
    await bucket.stop()
    assert.equal((await psql('claude-2', at('shop'), '-c', "SELECT 'while it was down'")).stdout, 'while it was down\n')
    assert.match((await condition('orders', 'shop', 'Recording', 'False')).message, /:7070|object storage/)
    await kubectl('delete', 'pod', 'agentaccess-proxy-0', '-n', 'shop')
    await eventually('sessions again', async () => (await psql('claude-2', at('shop'), '-c', 'SELECT 52')).stdout === '52\n')
    await bucket.start()
    await sessionWith('while it was down', 60)
    await sessionWith('SELECT 52', 60)
    await condition('orders', 'shop', 'Recording', 'True')
  })

  test('two proxies: a cancel request reaches the one that has the session, whichever gets it', async () => {
    await upgrade(2)
    await eventually(
      'two proxies',
      async () => (await kubectl('get', 'statefulset', 'agentaccess-proxy', '-n', 'shop', '-o', 'jsonpath={.status.readyReplicas}')) === '2',
    )
    // By their own addresses: the Service would keep an agent with one of them.
    const { items } = await get<Named>('pods', '-n', 'shop', '-l', 'app.kubernetes.io/name=agentaccess-proxy')
    const [own, other] = items.map(({ status }) => status!.podIP!) as [string, string]
    const cancelled = await run('kubectl', ['exec', '-n', 'agents', 'claude-2', '--', 'python3', '-c', CANCEL, own, other])
    assert.match(cancelled.stdout, /57014/, cancelled.stderr)
    const events = await sessionWith('cancelled elsewhere')
    assert.ok(events.some(({ kind }) => kind === 'cancel'))
  })

  test('from two proxies to one while the bucket is down: the spool that is left is stored, then its volume given back', async () => {
    const { bucket } = installed()
    await bucket.stop()
    const ips = (await get<Named>('pods', '-n', 'shop', '-l', 'app.kubernetes.io/name=agentaccess-proxy')).items.map(({ status }) => status!.podIP!)
    for (const [i, ip] of ips.entries()) {
      const { stdout, stderr } = await psql('claude-2', `host=${ip} port=20000 dbname=orders user=anyone`, '-c', `SELECT 'on proxy ${i}'`)
      assert.equal(stdout, `on proxy ${i}\n`, stderr)
    }
    await upgrade(1)
    await eventually('the drain Job', async () => (await names('jobs', '-n', 'shop')).includes('agentaccess-drain-1'), 120)
    await bucket.start()
    for (const i of ips.keys()) await sessionWith(`on proxy ${i}`, 90)
    await eventually('one volume', async () => (await names('pvc', '-n', 'shop')).join() === 'spool-agentaccess-proxy-0', 90)
    assert.deepEqual(await names('jobs', '-n', 'shop'), [])
  })

  test('bucket and collector are down under load: no session notices, and afterwards everything is there, once', async () => {
    const { bucket, telemetry } = installed()
    await Promise.all([bucket.stop(), telemetry.stopCollector()])
    const script = `for i in $(seq 1 60); do psql '${at('shop')}' -AtXc "SELECT 'load $i'" || echo failed; sleep 0.2; done`
    const { stdout } = await run('kubectl', ['exec', '-n', 'agents', 'claude-2', '--', 'sh', '-c', script])
    assert.equal(stdout.split('\n').filter((line) => /^load \d+$/.test(line)).length, 60, stdout)
    await Promise.all([bucket.start(), telemetry.startCollector()])
    await sessionWith('load 60', 90)
    for (let i = 1; i < 60; i++) await sessionWith(`'load ${i}'`, 60)
    await eventually('all in Jaeger', async () => {
      const spans = (await telemetry.traces({ 'agentaccess.access': 'shop/orders' })).flat()
      const texts = spans.flatMap(({ tags }) =>
        tags.flatMap(({ key, value }) => (key === 'db.query.text' && String(value).includes("'load ") ? [String(value)] : [])),
      )
      return new Set(texts).size === 60
    })
    await condition('orders', 'shop', 'Recording', 'True')
    await allWhole()
  })

  test('the last access of a namespace is deleted with an unshipped spool: it is stored first, and nothing is left', async () => {
    const { bucket } = installed()
    await apply(agentAccess('orders', 'other'))
    await condition('orders', 'other', 'Ready', 'True')
    await bucket.stop()
    await eventually('a session', async () => (await psql('claude-2', at('other'), '-c', "SELECT 'the last one'")).stdout !== '')
    await kubectl('delete', 'agentaccess', 'orders', '-n', 'other', '--wait=false')
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    assert.match(await kubectl('get', 'agentaccess', '-n', 'other'), /orders/)
    await bucket.start()
    await sessionWith('the last one', 90)
    await eventually(
      'nothing left',
      async () =>
        (await names('agentaccess,statefulset,service,secret,pvc,role,rolebinding,networkpolicy,job,pod', '-n', 'other')).every((name) =>
          name.startsWith('orders-db'),
        ),
      120,
    )
    await allWhole()
  })

  test('the last access is deleted with an unshipped spool, and somebody gives the spool up: it goes, with its volume', async () => {
    const { bucket } = installed()
    await apply(agentAccess('orders', 'other'))
    await condition('orders', 'other', 'Ready', 'True')
    await bucket.stop()
    await eventually('a session', async () => (await psql('claude-2', at('other'), '-c', "SELECT 'given up'")).stdout !== '')
    await kubectl('delete', 'agentaccess', 'orders', '-n', 'other', '--wait=false')
    await new Promise((resolve) => setTimeout(resolve, 5000))
    await kubectl('annotate', 'agentaccess', 'orders', '-n', 'other', 'agentaccess.dev/release-spool=true')
    await eventually('no access, no volume', async () => (await names('agentaccess,pvc', '-n', 'other')).length === 0, 90)
    await bucket.start()
  })

  test('spools in emptyDirs: the condition says so, what the volumes held is stored first, and what waits is before the last proxy goes', async () => {
    const { bucket } = installed()
    await apply(agentAccess('orders', 'other'))
    await condition('orders', 'other', 'Ready', 'True')
    await bucket.stop()
    await eventually('a session', async () => (await psql('claude-2', at('other'), '-c', "SELECT 'in the volume'")).stdout !== '')
    const inEmptyDirs = chartValues({ 'proxy.spool.emptyDir': 'true' })
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...inEmptyDirs, '--wait', '--timeout', '120s'])
    await eventually('a proxy without a claim', async () => {
      const pod = await get<{ spec: { volumes: { name: string; emptyDir?: object }[] } }>('pod', 'agentaccess-proxy-0', '-n', 'other')
      return pod.spec.volumes.some(({ name, emptyDir }) => name === 'spool' && emptyDir)
    })
    await eventually('a session', async () => (await psql('claude-2', at('other'), '-c', "SELECT 'in the emptyDir'")).stdout !== '')
    await kubectl('delete', 'agentaccess', 'orders', '-n', 'other', '--wait=false')
    await new Promise((resolve) => setTimeout(resolve, 5000))
    assert.deepEqual(await names('agentaccess', '-n', 'other'), ['orders'])
    await bucket.start()
    await sessionWith('in the volume', 120)
    await sessionWith('in the emptyDir', 90)
    await eventually('no access, no volume', async () => (await names('agentaccess,pvc', '-n', 'other')).length === 0, 90)
    await apply(agentAccess('orders', 'other'))
    assert.equal((await condition('orders', 'other', 'Recording', 'True')).reason, 'SpoolNotDurable')
    await succeed('helm', ['upgrade', 'agentaccess', CHART, '-n', SYSTEM, ...chartValues(), '--wait', '--timeout', '120s'])
  })

  test('a namespace is deleted with its access: it goes, and what was stored stays', async () => {
    const doomed = 'doomed'
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
    await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: doomed, labels } }, ...databaseObjects(doomed, installed().database.port))
    await apply(agentAccess('orders', doomed))
    await condition('orders', doomed, 'Ready', 'True')
    await eventually('a session', async () => (await psql('claude-2', at(doomed), '-c', "SELECT 'in the doomed one'")).stdout !== '')
    await sessionWith('in the doomed one')
    await kubectl('delete', 'namespace', doomed, '--timeout=90s')
    await sessionWith('in the doomed one')
    await allWhole()
  })
}

/** Opens a session at one proxy, and asks the other one to cancel what it runs. */
const CANCEL = `
import socket, struct, sys, time
own, other = sys.argv[1:3]
def read(s):
    t = s.recv(1); n = struct.unpack('!I', s.recv(4))[0] - 4; b = b''
    while len(b) < n: b += s.recv(n - len(b))
    return t, b
s = socket.create_connection((own, 20000))
p = b'user\\0anyone\\0database\\0orders\\0\\0'
s.sendall(struct.pack('!II', len(p) + 8, 196608) + p)
while True:
    t, b = read(s)
    if t == b'K': key = b
    if t == b'E': sys.exit(str(b))
    if t == b'Z': break
q = b"SELECT pg_sleep(30), 'cancelled elsewhere'\\0"
s.sendall(b'Q' + struct.pack('!I', len(q) + 4) + q)
time.sleep(1)
c = socket.create_connection((other, 20000))
c.sendall(struct.pack('!II', 16, 80877102) + key)
while True:
    t, b = read(s)
    if t == b'E': print(b)
    if t == b'Z': break
`
