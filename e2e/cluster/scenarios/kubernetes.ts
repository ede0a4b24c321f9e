// An access to this cluster's own API server: kubectl through the proxy, as a ServiceAccount that RBAC holds, with streams into pods.
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { agentAccess, agentPod, condition, type Installation } from '../installation.ts'
import { CLIENT_IMAGE } from '../images.ts'
import { apply, eventually, get, kubectl, run, type Ran } from '../kubectl.ts'
import { kubectlAgentaccess, sessionWith, startOf } from '../sessions-in-bucket.ts'

const RULES = [
  { name: 'no-nc', when: "command.verb == 'exec' && command.parameters.exists(p, p == 'nc')", action: 'Deny', message: 'no nc here' },
  { name: 'no-deletes', when: "command.verb == 'delete'", action: 'Deny', message: 'nothing is deleted here' },
]

const rbac = (name: string, rules: object[]) => [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'shop' } },
  { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name, namespace: 'shop' }, rules },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name, namespace: 'shop' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
    subjects: [{ kind: 'ServiceAccount', name, namespace: 'shop' }],
  },
]

const workload = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop' },
  spec: {
    automountServiceAccountToken: false,
    terminationGracePeriodSeconds: 0,
    securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'web',
        image: CLIENT_IMAGE,
        imagePullPolicy: 'Never',
        command: ['sh', '-c', 'while true; do echo tick; sleep 1; done'],
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ],
  },
}

/** Listens in the pod, and answers two connections. */
const LISTENER = `
import socket
s = socket.socket(); s.setsockopt(1, 2, 1); s.bind(('127.0.0.1', 8099)); s.listen(); print('ready', flush=True)
for i in range(2):
    c, _ = s.accept(); c.sendall(b'got ' + c.recv(100)); c.close()
`

export function kubernetes(installed: () => Installation): void {
  const folder = mkdtempSync(join(tmpdir(), 'agentaccess-kubectl-'))
  after(() => rmSync(folder, { recursive: true, force: true }))
  const config = join(folder, 'config')
  /** kubectl through the proxy. */
  const through = (args: string[], input = ''): Promise<Ran> =>
    run('kubectl', ['--kubeconfig', config, '--cache-dir', join(folder, 'cache'), '-n', 'shop', ...args], input)
  const sh = (script: string, legacy = false): Promise<Ran> => {
    const spdy = legacy ? ['KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false', 'KUBECTL_PORT_FORWARD_WEBSOCKETS=false'] : []
    return run('env', [...spdy, `K=kubectl --kubeconfig ${config} --cache-dir ${join(folder, 'cache')} -n shop`, 'bash', '-c', script])
  }

  test('a kubeconfig for an access; the cluster decides what its ServiceAccount may, the proxy what the agent may', async () => {
    const rights = [
      { apiGroups: [''], resources: ['pods', 'pods/log'], verbs: ['get', 'list', 'watch', 'delete'] },
      { apiGroups: [''], resources: ['pods/exec', 'pods/attach', 'pods/portforward'], verbs: ['create', 'get'] },
      { apiGroups: [''], resources: ['pods/ephemeralcontainers'], verbs: ['patch', 'update'] },
    ]
    await apply(...rbac('deployer', rights), workload)
    await apply(
      agentAccess('cluster', 'shop', { target: { kubernetes: { serviceAccount: { name: 'deployer' }, sessionIdle: '2s' } }, policy: { rules: RULES } }),
    )
    await condition('cluster', 'shop', 'Ready', 'True')
    await condition('cluster', 'shop', 'TargetReachable', 'True')
    const token = (await kubectl('create', 'token', 'cursor', '-n', 'agents', '--audience', 'agentaccess.dev/shop')).trim()
    writeFileSync(join(folder, 'token'), token)
    const { clusterIP } = (await get<{ spec: { clusterIP: string } }>('service', 'cluster-agentaccess', '-n', 'shop')).spec
    const made = await kubectlAgentaccess('kubeconfig', 'cluster', '-n', 'shop', '--task', 'DEPLOY-1', '--token-file', join(folder, 'token'))
    assert.match(made.stdout, /https:\/\/cluster-agentaccess\.shop\.svc:443\/tasks\/DEPLOY-1/, made.stderr)
    // Beside the cluster its names may not be known.
    const named = JSON.parse(made.stdout) as { clusters: { cluster: Record<string, string> }[] }
    Object.assign(named.clusters[0]!.cluster, { server: `https://${clusterIP}/tasks/DEPLOY-1`, 'tls-server-name': 'cluster-agentaccess.shop.svc' })
    writeFileSync(config, JSON.stringify(named))
    await kubectl('wait', '--for=condition=Ready', 'pod/web', '-n', 'shop', '--timeout=60s')
    const listed = await eventually('a list', async () => {
      const tried = await through(['get', 'pod', 'web', '-o', 'name'])
      return tried.code === 0 && tried
    })
    assert.equal(listed.stdout, 'pod/web\n')
    assert.match((await through(['get', 'configmaps'])).stderr, /User "system:serviceaccount:shop:deployer" cannot list resource "configmaps"/)
    assert.match((await through(['delete', 'pod', 'web'])).stderr, /pods "web" is forbidden: nothing is deleted here/)
    assert.match((await through(['exec', 'agentaccess-proxy-0', '--', 'true'])).stderr, /nobody enters a recording proxy/)
    const events = await sessionWith('nothing is deleted here')
    const start = startOf(events)
    assert.deepEqual([start['gen_ai.agent.name'], start['agentaccess.agent.proof'], start['agentaccess.task']], ['cursor', 'ServiceAccount token', 'DEPLOY-1'])
  })

  for (const legacy of [false, true]) {
    const carrier = legacy ? 'SPDY' : 'WebSocket'
    test(`exec over ${carrier}: input, output, errors, exit code and terminal, and all of it in the record`, async () => {
      const mark = `mark-${carrier}`
      const direct = await run('bash', ['-c', `echo ${mark} | kubectl exec -i web -n shop -- sh -c 'cat; echo oh >&2; exit 3'`])
      const proxied = await sh(`echo ${mark} | $K exec -i web -- sh -c 'cat; echo oh >&2; exit 3'`, legacy)
      assert.deepEqual(proxied, direct)
      assert.equal((await sh(`$K exec web -- nc x`, legacy)).code, 1)
      const terminal = await sh(`script -qec "$K exec -it web -- sh -c 'test -t 0 && echo terminal-${carrier}'" /dev/null`, legacy)
      assert.match(terminal.stdout, new RegExp(`terminal-${carrier}\r\n`))
      const events = await sessionWith(Buffer.from(`${mark}\n`).toString('base64'))
      const of = events.findLast((event) => event.kind === 'command' && String(event.attributes['agentaccess.kubernetes.stream.command']).includes('exit 3'))
      assert.ok(of?.kind === 'command')
      const streams = events.flatMap((event) =>
        event.kind === 'output' && event.command === of.command && event.data !== '' ? [`${event.stream} ${Buffer.from(event.data, 'base64').toString()}`] : [],
      )
      assert.deepEqual(streams.toSorted(), [`err oh\n`, `in ${mark}\n`, `out ${mark}\n`])
      const result = events.find((event) => event.kind === 'result' && event.command === of.command)
      assert.ok(result?.kind === 'result' && result.status === 'error' && result.attributes?.['agentaccess.kubernetes.exit_code'] === 3)
      const replayed = await kubectlAgentaccess('replay', events[0]!.session, '--speed', '1000')
      assert.match(replayed.stdout, new RegExp(`^${mark}$`, 'm'))
      assert.match(replayed.stdout, new RegExp(`terminal-${carrier}`))
    })

    test(`copies and forwarded ports over ${carrier}`, async () => {
      const file = join(folder, 'big')
      const copied = await sh(
        `head -c 2000000 /dev/urandom > ${file}; $K cp ${file} web:/tmp/big && $K cp web:/tmp/big ${file}.back && cmp ${file} ${file}.back && echo same`,
        legacy,
      )
      assert.match(copied.stdout, /same\n$/, copied.stderr)
      writeFileSync(join(folder, 'listener.py'), LISTENER)
      const until = (text: string, output: string) => `for t in $(seq 100); do grep -q ${text} ${join(folder, output)} && break; sleep 0.1; done`
      const asks = `(printf %s $i; sleep 0.5) | timeout 2 curl -s telnet://127.0.0.1:$port`
      const forwarded = await sh(
        `port=$((20000 + RANDOM % 10000))
        $K exec -i web -- python3 - < ${join(folder, 'listener.py')} > ${join(folder, 'listening')} &
        ${until('ready', 'listening')}
        $K port-forward web $port:8099 > ${join(folder, 'forwarding')} & pf=$!
        ${until('Forwarding', 'forwarding')}
        for i in one two; do ${asks}; echo; done
        kill $pf; wait`,
        legacy,
      )
      assert.equal(forwarded.stdout, 'got one\ngot two\n', forwarded.stderr)
    })
  }

  test('a forwarded port: connections and bytes; a pod that is followed; the whole session verifies', async () => {
    const followed = await sh('timeout 3 $K logs -f web --tail=2; echo $?')
    assert.match(followed.stdout, /^tick\ntick\ntick\n(?:tick\n)*124\n$/)
    const events = await sessionWith('"agentaccess.kubernetes.ports"')
    const forwards = events.flatMap((event) =>
      event.kind === 'result' && event.attributes?.['agentaccess.kubernetes.ports'] ? [event.attributes['agentaccess.kubernetes.ports']] : [],
    )
    assert.deepEqual(forwards[0], { 8099: { connections: 2, bytes: 'one'.length + 'two'.length + 'got onegot two'.length } })
    const { code, stdout } = await kubectlAgentaccess('verify', events[0]!.session)
    assert.equal(code, 0, stdout)
  })

  test('attach; kubectl killed in the middle, and the pod: each is in the record with its end', async () => {
    const attached = await sh('timeout 3 $K attach web')
    assert.match(attached.stdout, /^tick$/m, attached.stderr)
    await sh(`$K exec web -- sh -c 'echo begun; sleep 61' & sleep 2; kill -9 $!`)
    const killed = await sessionWith('sleep 61')
    const command = killed.find((event) => event.kind === 'command' && String(event.attributes['agentaccess.kubernetes.stream.command']).includes('sleep 61'))
    const result = killed.find((event) => event.kind === 'result' && event.command === command?.seq)
    assert.ok(result?.kind === 'result' && result.status === 'cancelled', JSON.stringify(result))
    const pod = { ...workload, metadata: { name: 'short', namespace: 'shop' } }
    await apply(pod)
    await kubectl('wait', '--for=condition=Ready', 'pod/short', '-n', 'shop', '--timeout=60s')
    await sh(`$K exec short -- sh -c 'echo begun; sleep 62' & sleep 2; kubectl delete pod short -n shop --force --grace-period=0; wait`)
    const events = await sessionWith('sleep 62')
    const last = events.findLast((event) => event.kind === 'result' && event.attributes?.['http.response.status_code'] === 101)
    assert.ok(last?.kind === 'result' && last.status !== 'ok', JSON.stringify(last))
  })

  test('debug: a container beside the others is a command of its own, and what is said to it a stream', async () => {
    // Input waits and stays open: else kubectl itself loses the output of what has ended before it is attached.
    const { stdout, stderr } = await sh(
      `(sleep 3; echo in-the-debugger; sleep 2) | timeout 60 $K debug web -i --image=${CLIENT_IMAGE} --image-pull-policy=Never --profile=restricted -q -- cat`,
    )
    assert.equal(stdout, 'in-the-debugger\n', stderr)
    const events = await sessionWith(Buffer.from('in-the-debugger\n').toString('base64'))
    const verbs = new Set(events.flatMap((event) => (event.kind === 'command' ? [String(event.attributes['agentaccess.command.text']).split(' ')[0]] : [])))
    assert.ok(verbs.has('debug') && verbs.has('attach'), [...verbs].join(' '))
  })

  test('a hundred million bytes of input, and of output: each comes whole, and is recorded, output up to its cap', async () => {
    const size = 100_000_000
    const { stdout, stderr } = await sh(
      `head -c ${size} /dev/zero | $K exec -i web -- sh -c 'wc -c; echo large-input'; $K exec web -- head -c ${size} /dev/zero | wc -c`,
    )
    assert.equal(stdout, `${size}\nlarge-input\n${size}\n`, stderr)
    const events = await sessionWith('large-input', 120)
    const recorded = (stream: 'in' | 'out') => {
      const of = events.find((event) => event.kind === 'result' && event.attributes?.[`agentaccess.stream.${stream}.bytes`] === size)
      assert.ok(of?.kind === 'result', `a result with ${size} bytes ${stream}`)
      return events.reduce(
        (sum, event) =>
          sum + (event.kind === 'output' && event.command === of.command && event.stream === stream ? Buffer.from(event.data, 'base64').length : 0),
        0,
      )
    }
    assert.equal(recorded('in'), size)
    assert.equal(recorded('out'), 1024 * 1024)
    assert.ok(events.some(({ kind }) => kind === 'output.capped'))
  })

  test('a stream whose record has no room any more ends: nothing got into the pod that is not in the record', async () => {
    const { bucket } = installed()
    const tiny = { target: { kubernetes: { serviceAccount: { name: 'deployer' }, sessionIdle: '2s' } }, recording: { spoolQuota: '2Mi' } }
    await apply(agentAccess('tiny', 'shop', tiny))
    await condition('tiny', 'shop', 'Ready', 'True')
    const { clusterIP } = (await get<{ spec: { clusterIP: string } }>('service', 'tiny-agentaccess', '-n', 'shop')).spec
    const named = JSON.parse(readFileSync(config, 'utf8')) as { clusters: { cluster: Record<string, string> }[] }
    Object.assign(named.clusters[0]!.cluster, { server: `https://${clusterIP}`, 'tls-server-name': 'tiny-agentaccess.shop.svc' })
    const own = join(folder, 'tiny')
    writeFileSync(own, JSON.stringify(named))
    const exec = (script: string) => `kubectl --kubeconfig ${own} --cache-dir ${join(folder, 'cache')} -n shop exec -i web -- sh -c '${script}'`
    await eventually('an exec', async () => (await run('bash', ['-c', exec('echo reached')])).stdout === 'reached\n')
    await bucket.stop()
    const filled = await run('bash', ['-c', `head -c 20000000 /dev/urandom | ${exec('cat > /tmp/filled')}`])
    assert.notEqual(filled.code, 0)
    const refused = await run('bash', ['-c', exec('echo not reached')])
    assert.match(refused.stderr, /can't be recorded, so it is not let through/)
    await bucket.start()
    const got = Number(await kubectl('exec', 'web', '-n', 'shop', '--', 'sh', '-c', 'wc -c < /tmp/filled'))
    const events = await sessionWith('cat > /tmp/filled', 90)
    const recorded = events.reduce((sum, event) => sum + (event.kind === 'output' && event.stream === 'in' ? Buffer.from(event.data, 'base64').length : 0), 0)
    assert.ok(got > 0 && got <= recorded && recorded < 20_000_000, `${got} in the pod, ${recorded} in the record`)
    assert.match(JSON.stringify(events.filter(({ kind }) => kind === 'result')), /can't be recorded any more/)
    await kubectl('delete', 'agentaccess', 'tiny', '-n', 'shop', '--timeout=60s')
  })

  test('a pod is known by its address, and needs nothing but the URL', async () => {
    const url = 'https://cluster-agentaccess.shop.svc/api/v1/namespaces/shop/pods/web'
    const { stdout } = await run('kubectl', ['exec', '-n', 'agents', 'claude-2', '--', 'curl', '-s', '--cacert', '/ca/ca.crt', url])
    assert.equal((JSON.parse(stdout) as { metadata: { name: string } }).metadata.name, 'web')
    await agentPod('stranger-1', { serviceAccount: 'stranger' })
    const stranger = await run('kubectl', ['exec', '-n', 'agents', 'stranger-1', '--', 'curl', '-s', '--cacert', '/ca/ca.crt', url])
    assert.match(stranger.stdout, /Unauthorized/, stranger.stderr)
    await kubectl('delete', 'agentaccess', 'cluster', '-n', 'shop', '--timeout=30s')
    await kubectl('delete', 'pod', 'web', '-n', 'shop', '--force', '--grace-period=0')
  })
}
