// Stock kubectl through the proxy to a real kube-apiserver: it behaves as without, and everything is in the record.
import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { DirectoryStore, findSessions, readEvents, type Event } from '@agentaccess/recording'
import { makeAuthority } from './certificates.ts'
import { Issuer } from './issuer.ts'
import { kubeconfigText, kubectlProgram, startKubeApiServer, type KubeApiServer } from './kube-apiserver.ts'
import { freePort } from './postgres.ts'
import { Scope, type Finished } from './scope.ts'
import { startServe, type ServeProcess } from './serve-process.ts'

const TOKEN = 'token-of-claude-0123456789'
const OBJECTS = {
  deployment: {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web', labels: { app: 'web' } },
    spec: {
      replicas: 2,
      selector: { matchLabels: { app: 'web' } },
      template: { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'nginx:1' }] } },
    },
  },
  pod: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', labels: { app: 'p' } }, spec: { containers: [{ name: 'c', image: 'c:1' }] } },
  service: { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' }, spec: { selector: { app: 'web' }, ports: [{ port: 80 }] } },
}

/** Each is run twice: directly in namespace `direct`, and through the proxy in namespace `through`. `NS` stands for it. */
const INVOCATIONS = `
get all -n NS
version
cluster-info
api-resources
api-versions
get namespaces NS -o jsonpath={.metadata.name}
create configmap c --from-literal=a=b -n NS
create configmap c --from-literal=a=b -n NS
get configmap c -n NS -o jsonpath={.data}
get configmap c -n NS -o yaml --show-managed-fields=false
describe configmap c -n NS
label configmap c tier=one -n NS
annotate configmap c note=x -n NS
get configmap -n NS -l tier=one -o name
get configmap -n NS --field-selector metadata.name=c -o name
patch configmap c -n NS --type=merge -p {"data":{"a":"c"}}
patch configmap c -n NS --type=json -p [{"op":"add","path":"/data/d","value":"e"}]
patch configmap c -n NS -p {"data":{"f":"g"}}
create secret generic s --from-literal=password=topsecret -n NS
get secret s -n NS -o jsonpath={.data.password}
describe secret s -n NS
apply -f FOLDER/deployment.json -n NS
apply -f FOLDER/deployment.json -n NS
apply --server-side -f FOLDER/service.json -n NS
diff -f FOLDER/deployment.json -n NS
get deployment web -n NS
get deployment web -n NS -o wide
get deployments -n NS -o json --ignore-not-found
scale deployment web --replicas=3 -n NS
set image deployment/web web=nginx:2 -n NS
set env deployment/web A=b -n NS
set resources deployment/web --limits=cpu=1 -n NS
autoscale deployment web --min=1 --max=3 -n NS
rollout history deployment/web -n NS
rollout pause deployment/web -n NS
rollout resume deployment/web -n NS
rollout status deployment/web -n NS --timeout=1s
expose deployment web --name=web2 --port=80 -n NS
run p2 --image=x:1 -n NS
run p3 --image=x:1 -n NS --dry-run=server -o name
apply -f FOLDER/pod.json -n NS
get pods -n NS --no-headers -o custom-columns=NAME:.metadata.name
get pods -n NS --sort-by=.metadata.name -o name
describe pod p -n NS
wait --for=condition=Ready pod/p -n NS --timeout=1s
logs p -n NS
exec p -n NS -- true
top pods -n NS
get events -n NS --field-selector reason=None
explain deployment.spec.replicas
auth can-i create pods -n NS
auth can-i --list -n NS
auth whoami
create serviceaccount sa -n NS
create role r --verb=get --resource=pods -n NS
create rolebinding rb --role=r --serviceaccount=NS:sa -n NS
create quota q --hard=pods=10 -n NS
create job j --image=x:1 -n NS
create cronjob cj --image=x:1 --schedule=@daily -n NS
get nothing -n NS
get pod missing -n NS
delete pod missing -n NS
delete pod p --now --wait=false -n NS
delete configmap c -n NS --dry-run=server
delete configmap c -n NS
delete deployment,service --all -n NS
get --raw /healthz
get --raw /api/v1/namespaces/NS/configmaps
replace -f FOLDER/pod.json -n NS
taint nodes none a=b:NoSchedule
cordon none
`
  .trim()
  .split('\n')

const varies = (text: string, namespace: string, port: number) =>
  text
    .replaceAll(namespace, 'NS')
    .replaceAll(`:${port}`, ':PORT')
    .replaceAll('/tasks/DIFF-1', '')
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'UID')
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, 'TIME')
    .replaceAll(/[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]+ [+-]\d{4}/g, 'TIME')
    .replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}/g, 'TIME')
    .replaceAll(/10\.96\.\d+\.\d+/g, 'IP')
    .replaceAll(/(resourceVersion"?: ?"?)\d+/g, '$1N')
    .replaceAll(/\b\d+(?:\.\d+)?(?:ms|m?s)\b/g, 'AGE')
    .replaceAll(/<invalid>/g, 'AGE')
    .replaceAll(/(?:LIVE|MERGED)-\d+/g, 'DIFF')
    .replaceAll(/ +/g, ' ')

const PYTHON_SCRIPT = `
import json, sys
from kubernetes import client, config, watch
config.load_kube_config(sys.argv[1])
api = client.CoreV1Api()
api.create_namespaced_config_map('through', {'metadata': {'name': 'python'}, 'data': {'a': 'b'}})
print('created')
for event in watch.Watch().stream(api.list_namespaced_config_map, 'through', field_selector='metadata.name=python', timeout_seconds=5):
    print('watched', event['type'], event['object'].metadata.name)
    break
print('patched', api.patch_namespaced_config_map('python', 'through', {'data': {'a': 'one'}}).data['a'])
try:
    api.delete_namespaced_config_map('python', 'through')
except client.ApiException as refused:
    said = json.loads(refused.body)
    print('denied', refused.status, said['reason'], said['message'].split(': ')[1])
print('listed', any(one.metadata.name == 'python' for one in api.list_namespaced_config_map('through', limit=100).items))
`

describe('the Kubernetes protocol', { timeout: 900_000 }, () => {
  const scope = new Scope('kubernetes')
  let api: KubeApiServer
  let serve: ServeProcess
  let issuer: Issuer
  const evidence = join(scope.folder, 'evidence')
  const ports = new Map<string, number>()
  const certificate = (name: string) => join(scope.folder, `robot.${name}`)

  const manifest = (spec: string, name: string) => `apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccess
metadata: {name: ${name}, namespace: shop}
spec:
  agents:
    - {name: claude, token: {secretRef: {name: tokens, key: claude}}}
    - {name: robot, clientCertificate: {commonName: robot}}
    - {name: cursor, oidc: {issuer: "${issuer.url}", audience: agentaccess, subject: "repo:acme/*"}}
${spec}
---
`
  before(async () => {
    api = await startKubeApiServer(scope)
    const authority = await makeAuthority('agents')
    issuer = new Issuer(await authority.issue('issuer', '127.0.0.1'))
    await issuer.start()
    for (const namespace of ['direct', 'through']) await api.admin('create', 'namespace', namespace)
    for (const [name, object] of Object.entries(OBJECTS)) writeFileSync(join(scope.folder, `${name}.json`), JSON.stringify(object))
    const target = 'target: {kubernetes: {credentials: {secretRef: {name: kube}}'
    const text =
      manifest(`  ${target}}}`, 'cluster') +
      manifest(
        `  ${target}}}
  policy:
    rules:
      - {name: no-deletes, when: "command.verb in ['delete', 'deletecollection'] && !command.dryRun", action: Deny, message: nothing is deleted here}
      - {name: no-prod, when: "command.labels.exists(l, l == 'tier' && command.labels[l] == 'prod')", action: Deny, message: not in production}
      - {name: no-big, when: "command.resource == 'deployments' && command.verb != 'get' && command.body.spec.replicas > 5", action: Deny, message: at most five}
  recording: {maxCommandBytes: 64Ki, redact: ['card-\\d+']}`,
        'judged',
      ) +
      manifest(`  ${target}, impersonate: true, sessionIdle: 1s}}`, 'impersonated') +
      manifest(`  ${target}}}\n  recording: {results: Full, outputCap: 2Ki, redact: ['card-\\d+']}`, 'full') +
      `{apiVersion: v1, kind: Secret, metadata: {name: tokens, namespace: shop}, stringData: {claude: ${TOKEN}}}
---
apiVersion: v1
kind: Secret
metadata: {name: kube, namespace: shop}
stringData: {kubeconfig: '${api.kubeconfig}'}
`
    const file = join(scope.folder, 'accesses.yaml')
    writeFileSync(file, text)
    for (const name of ['cluster', 'judged', 'impersonated', 'full']) ports.set(name, await freePort())
    const { cert, key } = await authority.issue('robot')
    for (const [name, pem] of Object.entries({ ca: authority.cert, cert, key })) writeFileSync(certificate(name), pem)
    process.env.NODE_EXTRA_CA_CERTS = certificate('ca')
    const given = [...ports].flatMap(([name, port]) => ['--port', `${name}=${port}`])
    serve = await startServe(scope, file, evidence, ['--client-ca', certificate('ca'), ...given])
  })
  after(async () => {
    issuer.stop()
    await scope.close()
  })

  const portOf = (access: string) => ports.get(access)!

  function kubeconfig(access: string, user: object = { token: TOKEN }, task = ''): string {
    const file = join(scope.folder, `kubeconfig-${access}-${Math.random().toString(36).slice(2)}`)
    const cluster = { server: `https://127.0.0.1:${portOf(access)}${task}`, 'certificate-authority': serve.ca }
    writeFileSync(file, kubeconfigText(cluster, user))
    return file
  }
  const kubectl = (config: string, ...args: string[]): Promise<Finished> =>
    scope.run(kubectlProgram, ['--kubeconfig', config, '--cache-dir', join(scope.folder, 'cache', config.split('/').at(-1)!), ...args])

  async function sessions(access: string): Promise<Event[][]> {
    const all: Event[][] = []
    const store = new DirectoryStore(evidence)
    for (const location of await findSessions(store)) {
      const events: Event[] = []
      for await (const { event } of readEvents(store, location)) events.push(event)
      const [first] = events
      if (first?.kind === 'session.started' && first.attributes['agentaccess.access'] === `shop/${access}`) all.push(events)
    }
    return all
  }
  /** Looks until the record has it: parts are stored once a second. */
  async function eventually<T>(look: () => Promise<T | undefined | false>): Promise<T> {
    for (const deadline = Date.now() + 20_000; ;) {
      const found = await look()
      if (found !== undefined && found !== false) return found
      if (Date.now() > deadline) throw new Error('it is not in the record')
      await new Promise((resolve) => setTimeout(resolve, 200))
    }
  }
  const commands = (events: readonly Event[]) => events.filter((event) => event.kind === 'command')
  const commandWith = (access: string, text: string) =>
    eventually(async () =>
      (await sessions(access)).flat().find((event) => event.kind === 'command' && String(event.attributes['agentaccess.command.text']).includes(text)),
    )

  test(`${INVOCATIONS.length} invocations of kubectl: the same output and exit code as without the proxy; each request is in both records`, async () => {
    const through = kubeconfig('cluster', undefined, '/tasks/DIFF-1')
    for (const line of INVOCATIONS) {
      const run = async (namespace: string, port: number, how: (...args: string[]) => Promise<Finished>) => {
        const { code, stdout, stderr } = await how(...line.split(' ').map((arg) => arg.replaceAll('NS', namespace).replaceAll('FOLDER', scope.folder)))
        return { code, stdout: varies(stdout, namespace, port), stderr: varies(stderr, namespace, port) }
      }
      const direct = await run('direct', api.port, (...args) => api.admin(...args))
      assert.deepEqual(await run('through', portOf('cluster'), (...args) => kubectl(through, ...args)), direct, `kubectl ${line}`)
    }
    const last = await commandWith('cluster', '/api/v1/nodes/none')
    const recorded = commands((await sessions('cluster')).flat())
    assert.ok(last)
    const ids = new Set(recorded.map(({ attributes }) => attributes['agentaccess.kubernetes.audit_id']))
    // The API server's own log: whatever came with an id of ours is in the record, and what is in the record came.
    const audited = new Set(api.audit().map(({ auditID }) => auditID))
    assert.deepEqual(
      [...ids].filter((id) => !audited.has(String(id))),
      [],
    )
    const own = api.audit().filter(({ requestURI, user }) => requestURI.includes('/namespaces/through') && user.username === 'admin')
    // The administrator of this test has made that namespace, and nothing else in it.
    const missing = own.filter(({ auditID, requestURI, verb }) => !ids.has(auditID) && !(verb === 'create' && requestURI.startsWith('/api/v1/namespaces?')))
    assert.deepEqual(missing, [])
    assert.ok(own.length > 60, String(own.length))
  })

  test('one session for an agent and a task, over all its connections', async () => {
    const all = await sessions('cluster')
    assert.equal(all.length, 1)
    const [start] = all[0]!
    assert.equal(start?.kind === 'session.started' && start.attributes['agentaccess.task'], 'DIFF-1')
  })

  test('values of Secrets are nowhere in the evidence, names of keys are', async () => {
    const text = JSON.stringify(await sessions('cluster'))
    assert.ok(!text.includes('topsecret') && !text.includes(Buffer.from('topsecret').toString('base64')))
    const config = kubeconfig('judged')
    const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'applied' }, stringData: { key: 'very-secret' } }
    writeFileSync(join(scope.folder, 'secret.json'), JSON.stringify(secret))
    assert.equal((await kubectl(config, 'apply', '-n', 'through', '-f', join(scope.folder, 'secret.json'))).code, 0)
    assert.equal(
      (await kubectl(config, 'patch', 'secret', 'applied', '-n', 'through', '--type=json', '-p', '[{"op":"add","path":"/data/k","value":"dmVyeS1zZWNyZXQ="}]'))
        .code,
      0,
    )
    await commandWith('judged', 'patch /api/v1/namespaces/through/secrets/applied')
    const judged = JSON.stringify(await sessions('judged'))
    assert.ok(!judged.includes('very-secret') && !judged.includes('dmVyeS1zZWNyZXQ='), 'the value is in the record')
    assert.match(judged, /\[REDACTED\]/)
  })

  test("a denial is a Status that kubectl prints as it prints the API server's own, and the API server has not seen it", async () => {
    const config = kubeconfig('judged')
    await kubectl(config, 'create', 'configmap', 'kept', '-n', 'through')
    const denied = await kubectl(config, 'delete', 'configmap', 'kept', '-n', 'through')
    assert.deepEqual([denied.code, denied.stderr], [1, 'Error from server (Forbidden): configmaps "kept" is forbidden: nothing is deleted here\n'])
    assert.equal((await kubectl(config, 'delete', 'configmap', 'kept', '-n', 'through', '--dry-run=server')).stderr, '')
    const forbidden = await kubectl(config, 'delete', 'secrets', '--all', '-n', 'through')
    assert.match(forbidden.stderr, /could have those of the recorder/)
    assert.match((await kubectl(config, 'get', 'secrets', '-A')).stderr, /could have those of the recorder/)
    assert.equal((await kubectl(config, 'get', 'secrets', '-A', '-l', 'app.kubernetes.io/managed-by!=agentaccess-operator')).code, 0)
    const mounting = { ...OBJECTS.pod, spec: { ...OBJECTS.pod.spec, volumes: [{ name: 'v', secret: { secretName: 'agentaccess-proxy' } }] } }
    writeFileSync(join(scope.folder, 'mounting.json'), JSON.stringify(mounting))
    assert.match((await kubectl(config, 'apply', '-n', 'through', '-f', join(scope.folder, 'mounting.json'))).stderr, /names what is the recorder's/)
    assert.match((await kubectl(config, 'get', 'secret', 'agentaccess-proxy', '-n', 'through')).stderr, /Secrets of the recorder/)
    assert.match((await kubectl(config, 'get', '--raw', '/api/v1/nodes/n/proxy/exec/shop/p/c?command=id')).stderr, /kubelet/)
    // The one of the dry run.
    const deletes = api.audit().filter(({ verb, requestURI }) => verb === 'delete' && requestURI.includes('/namespaces/through/configmaps/kept'))
    assert.equal(deletes.length, 1)
    const { seq } = (await commandWith('judged', 'delete /api/v1/namespaces/through/configmaps/kept')) as { seq: number }
    const events = (await sessions('judged')).flat()
    assert.ok(events.some((event) => event.kind === 'result' && event.command === seq && event.status === 'denied'))
  })

  test('rules see labels, numbers and dry runs, in JSON, YAML and, where it can be read, protobuf', async () => {
    const config = kubeconfig('judged')
    const apply = async (object: object, ...args: string[]) => {
      writeFileSync(join(scope.folder, 'object.json'), JSON.stringify(object))
      return (await kubectl(config, 'apply', '-n', 'through', '-f', join(scope.folder, 'object.json'), ...args)).stderr
    }
    const labelled = { ...OBJECTS.pod, metadata: { name: 'labelled', labels: { tier: 'prod' } } }
    assert.match(await apply(labelled), /not in production/)
    assert.match(await apply(labelled, '--server-side'), /not in production/)
    assert.match(await apply({ ...OBJECTS.deployment, spec: { ...OBJECTS.deployment.spec, replicas: 6 } }), /at most five/)
    assert.equal(await apply(OBJECTS.deployment), '')
    // kubectl creates by protobuf: the rule that asks for replicas can't be answered.
    assert.match(
      (await kubectl(config, 'create', 'deployment', 'x', '--image=x:1', '-n', 'through')).stderr,
      /protobuf, of which only name and labels can be read/,
    )
  })

  test('who asks: a token, a certificate; what is wrong or missing is refused and recorded; no header makes another of them', async () => {
    const whoami = async (user: object) => kubectl(kubeconfig('impersonated', user), 'auth', 'whoami', '-o', 'jsonpath={.status.userInfo.username}')
    assert.equal((await whoami({ token: TOKEN })).stdout, 'agent:claude')
    assert.equal((await whoami({ 'client-certificate': certificate('cert'), 'client-key': certificate('key') })).stdout, 'agent:robot')
    assert.equal((await whoami({ token: await issuer.token() })).stdout, 'agent:cursor')
    assert.match((await whoami({ token: await issuer.token({ sub: 'repo:other/x' }) })).stderr, /Unauthorized|provide credentials|logged in/)
    assert.match((await whoami({ token: 'another-token' })).stderr, /Unauthorized|provide credentials|logged in/)
    // Without credentials kubectl asks for a name, and there is nobody to tell it.
    assert.match((await whoami({})).stderr, /EOF/)
    const as = await kubectl(
      kubeconfig('impersonated'),
      'auth',
      'whoami',
      '--as',
      'somebody',
      '--as-group',
      'system:masters',
      '-o',
      'jsonpath={.status.userInfo.username}',
    )
    assert.equal(as.stdout, 'agent:claude')
    const { impersonatedUser } = api.audit().findLast(({ requestURI }) => requestURI.includes('selfsubjectreviews'))!
    assert.equal(impersonatedUser?.username, 'agent:claude')
    assert.match(impersonatedUser?.extra?.['agentaccess.dev/session']?.[0] ?? '', /^[0-9a-f-]{36}$/)
    await eventually(async () => (await sessions('impersonated')).flat().some((event) => event.kind === 'connection.refused'))
  })

  test('with full results answers are recorded up to the cap, without what is redacted, and those of Secrets never', async () => {
    await api.admin('create', 'configmap', 'answered', '-n', 'through', '--from-literal=a=card-123456')
    await api.admin('create', 'configmap', 'large', '-n', 'through', `--from-literal=a=${'x'.repeat(9000)}`)
    await api.admin('create', 'secret', 'generic', 'asked', '-n', 'through', '--from-literal=a=never-recorded')
    const config = kubeconfig('full')
    assert.match((await kubectl(config, 'get', 'configmap', 'answered', '-n', 'through', '-o', 'yaml')).stdout, /card-123456/)
    // Redacted as it is meant, however it is written.
    await kubectl(config, 'get', '--raw', '/api/v1/namespaces/through/configmaps?labelSelector=a%3D%63ard-777')
    for (const args of [
      ['configmap', 'large'],
      ['secret', 'asked'],
    ])
      await kubectl(config, 'get', ...args, '-n', 'through', '-o', 'yaml')
    await commandWith('full', '/secrets/asked')
    const events = (await sessions('full')).flat()
    const printed = (text: string) => {
      const command = events.find((event) => event.kind === 'command' && String(event.attributes['agentaccess.command.text']).includes(text))
      const of = events.filter((event) => (event.kind === 'output' || event.kind === 'output.capped') && event.command === command?.seq)
      return of.map((event) => (event.kind === 'output' ? Buffer.from(event.data, 'base64').toString() : 'CAPPED')).join('')
    }
    assert.match(printed('/configmaps/answered'), /"name":"answered"[^]*\[REDACTED\]/)
    assert.equal(printed('/configmaps/large').length, 2048 + 'CAPPED'.length)
    assert.equal(printed('/secrets/asked'), '')
    assert.match(JSON.stringify(commands(events)), /labelSelector=a=\[REDACTED\]/)
    assert.ok(!JSON.stringify(events).includes('ard-777'))
    assert.ok(!JSON.stringify(events).includes(Buffer.from('never-recorded').toString('base64')))
  })

  test("Python's client library: objects, a watch, a patch, a denial", async () => {
    const python = join(import.meta.dirname, '../build/python/bin/python')
    assert.ok(existsSync(python), 'MISSING: build/python, which `make setup` makes')
    const run = (config: string) => scope.run(python, ['-c', PYTHON_SCRIPT, config])
    const { code, stdout, stderr } = await run(kubeconfig('judged', undefined, '/tasks/PYTHON-1'))
    assert.equal(code, 0, stderr)
    assert.deepEqual(stdout.trim().split('\n'), [
      'created',
      'watched ADDED python',
      'patched one',
      'denied 403 Forbidden nothing is deleted here',
      'listed True',
    ])
    await commandWith('judged', 'patch /api/v1/namespaces/through/configmaps/python')
  })

  test('a session in which nothing is under way ends; what comes later is another one', async () => {
    const config = kubeconfig('impersonated', undefined, '/tasks/IDLE-1')
    const run = () => kubectl(config, 'get', '--raw', '/version')
    await run()
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await run()
    const ended = await eventually(async () => {
      const own = (await sessions('impersonated')).filter(([start]) => start?.kind === 'session.started' && start.attributes['agentaccess.task'] === 'IDLE-1')
      return own.length === 2 && own.every((events) => events.some(({ kind }) => kind === 'session.ended')) && own
    })
    for (const events of ended) assert.equal(commands(events).length, 1)
  })

  test('a session ends with the token that it was proven by, and what is under way in it', async () => {
    const token = await issuer.token({ exp: '4s' })
    const { stdout } = await kubectl(kubeconfig('cluster', { token }, '/tasks/SHORT-1'), 'get', 'configmaps', '-n', 'through', '-w', '-o', 'name')
    assert.match(stdout, /configmap/)
    const events = await eventually(async () => {
      const own = (await sessions('cluster')).find(([start]) => start?.kind === 'session.started' && start.attributes['agentaccess.task'] === 'SHORT-1')
      return own?.some(({ kind }) => kind === 'session.ended') && own
    })
    const ended = events.find((event) => event.kind === 'session.ended')
    assert.ok(ended?.kind === 'session.ended' && ended.by === 'policy', JSON.stringify(ended))
    const watch = events.find((event) => event.kind === 'command' && String(event.attributes['agentaccess.command.text']).startsWith('watch '))
    const result = events.find((event) => event.kind === 'result' && event.command === watch?.seq)
    assert.ok(result?.kind === 'result' && result.status === 'cancelled', JSON.stringify(result))
  })

  /** Writes bytes as they are, and returns what comes back. */
  const raw = (access: string, bytes: string, secure = true): Promise<string> =>
    new Promise((resolve) => {
      let text = ''
      const options = { host: '127.0.0.1', port: portOf(access) }
      const socket = secure ? connectTls({ ...options, rejectUnauthorized: false }, () => socket.write(bytes)) : connectTcp(options, () => socket.write(bytes))
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
      socket.on('error', () => {})
      socket.once('close', () => resolve(text))
      setTimeout(() => socket.end(), 1500)
    })
  const head = (target: string, ...headers: string[]) =>
    [`GET ${target} HTTP/1.1`, 'Host: x', `Authorization: Bearer ${TOKEN}`, ...headers, '', ''].join('\r\n')

  test('requests that could be read in two ways are refused', async () => {
    const ofOurs = () => api.audit().filter(({ user }) => user.username === 'admin').length
    const before = ofOurs()
    for (const target of [
      '//api/v1/pods',
      '/api/v1/%2e%2e/pods',
      '/api/../api/v1/secrets',
      '/api/v1/namespaces/a%2fb/pods',
      '/api/v1/p%6fds',
      '/api/v1/./pods',
      '/api/v1/pods?watch=1&watch=0',
      'http://x/api/v1/pods',
      '/api/v1/pods#x',
    ])
      assert.match(await raw('cluster', head(target)), /^HTTP\/1\.1 400 /, target)
    for (const headers of [
      ['Content-Length: 3', 'Transfer-Encoding: chunked'],
      ['Transfer-Encoding: chunked, identity'],
      ['Content-Length: 1', 'Content-Length: 2'],
      ['Content-Length: +1'],
      [' folded: x'],
      ['Bad Header: x'],
    ])
      assert.match(await raw('cluster', head('/api/v1/pods', ...headers)), /^HTTP\/1\.1 400 /, headers.join())
    assert.match(await raw('cluster', head('/api/v1/pods', `X-Large: ${'x'.repeat(70_000)}`)), /^HTTP\/1\.1 431 /)
    assert.match(await raw('cluster', head('/api/v1/pods', 'Connection: content-type')), /^HTTP\/1\.1 400 /)
    assert.match(await raw('cluster', head('/api/v1/pods', 'Content-Encoding: gzip')), /^HTTP\/1\.1 415 /)
    assert.match(await raw('cluster', head('/api/v1/pods', 'Upgrade: websocket', 'Connection: Upgrade')), /^HTTP\/1\.1 501 /)
    assert.match(await raw('cluster', `TRACE / HTTP/1.1\r\nHost: x\r\n\r\n`), /^HTTP\/1\.1 405 /)
    assert.match(
      await raw('judged', head('/api/v1/namespaces/through/configmaps', 'Content-Type: application/json', 'Content-Length: 100000').replace('GET', 'POST')),
      /^HTTP\/1\.1 413 /,
    )
    assert.equal(ofOurs(), before)
    await eventually(async () => (await sessions('judged')).flat().some((event) => event.kind === 'decision' && event.rule === 'built-in/too-large'))
    const twice = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"q"},"metadata":{"labels":{"tier":"prod"}},"spec":{}}'
    const post = head('/api/v1/namespaces/through/pods', 'Content-Type: application/json', `Content-Length: ${twice.length}`).replace('GET', 'POST')
    assert.match(await raw('judged', post + twice), /^HTTP\/1\.1 403 [^]*twice in one object/)
  })

  test('keep-alive, pipelining, chunked bodies and Expect are as HTTP/1.1 has them', async () => {
    const two = await raw('cluster', head('/version') + head('/healthz'))
    assert.equal(two.match(/HTTP\/1\.1 200 /g)?.length, 2)
    const body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"chunked"}}'
    const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const post = (name: string) => head('/api/v1/namespaces/through/configmaps', 'Content-Type: application/json', name).replace('GET', 'POST')
    assert.match(await raw('cluster', post('Transfer-Encoding: chunked') + chunked), /^HTTP\/1\.1 201 /)
    const withTrailer = body.replace('chunked', 'trailed')
    const trailed = `${withTrailer.length.toString(16)}\r\n${withTrailer}\r\n0\r\nX-Sum: 1\r\n\r\n`
    assert.match(await raw('cluster', post('Transfer-Encoding: chunked\r\nTrailer: X-Sum') + trailed), /^HTTP\/1\.1 201 /)
    const expected = body.replace('chunked', 'expected')
    assert.match(
      await raw('cluster', post(`Content-Length: ${expected.length}\r\nExpect: 100-continue`) + expected),
      /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 201 /,
    )
    assert.equal((await api.admin('get', 'configmap', 'chunked', 'expected', '-n', 'through', '-o', 'name')).stdout, 'configmap/chunked\nconfigmap/expected\n')
  })

  test('HTTP/1.1 is all that is offered', async () => {
    const negotiated = (...protocols: string[]) =>
      new Promise<string>((resolve) => {
        const socket = connectTls({ host: '127.0.0.1', port: portOf('cluster'), rejectUnauthorized: false, ALPNProtocols: protocols })
        socket.once('secureConnect', () => resolve(String(socket.alpnProtocol)))
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
        socket.once('close', () => resolve('closed'))
      })
    assert.equal(await negotiated('h2', 'http/1.1'), 'http/1.1')
    assert.match(await negotiated('h2'), /NO_APPLICATION_PROTOCOL|ECONNRESET|closed/)
  })

  test('a token by plain HTTP is taken on loopback only, and everything verifies', async () => {
    assert.match(await raw('cluster', head('/version'), false), /^HTTP\/1\.1 200 /)
    await serve.stop()
    const cli = join(import.meta.dirname, '../cli/kubectl-agentaccess.js')
    const key = join(`${evidence}.spool`, 'public-key.pem')
    const { code, stdout } = await scope.run(process.execPath, [
      '--disable-warning=ExperimentalWarning',
      cli,
      'verify',
      '--all',
      '--evidence',
      evidence,
      '--public-key',
      key,
    ])
    assert.equal(code, 0, stdout)
  })
})
