// make bench, third part, beside a cluster: bytes into a pod and out of it, directly and through the proxy, interleaved in one run.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CLIENT_IMAGE } from '../cluster/images.ts'
import { apply, eventually, get, kubectl, succeed } from '../cluster/kubectl.ts'
import { kubeconfigText } from '../kube-apiserver.ts'
import { Scope } from '../scope.ts'
import { startServe } from '../serve-process.ts'
import { growth, median } from './measures.ts'

const BYTES = Number(process.env.BENCH_EXEC_MB ?? 200) * 1024 * 1024
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5)
const TOKEN = 'token-of-claude-0123456789'

const scope = new Scope('bench-exec')
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void scope.close().finally(() => process.exit(130)))

const pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'bench', namespace: 'default' },
  spec: { containers: [{ name: 'bench', image: CLIENT_IMAGE, imagePullPolicy: 'Never', command: ['sleep', 'infinity'] }], terminationGracePeriodSeconds: 0 },
}

try {
  await eventually('the account of pods in a cluster that is new', () => get('serviceaccount', 'default'))
  await apply(pod)
  await kubectl('wait', '--for=condition=Ready', 'pod/bench', '--timeout=60s')
  const direct = join(scope.folder, 'direct')
  const kubeconfig = await kubectl('config', 'view', '--raw', '--flatten', '-o', 'json')
  writeFileSync(direct, kubeconfig)
  const objects = [
    {
      apiVersion: 'agentaccess.dev/v1alpha1',
      kind: 'AgentAccess',
      metadata: { name: 'cluster', namespace: 'shop' },
      spec: {
        agents: [{ name: 'claude', token: { secretRef: { name: 'tokens', key: 'claude' } } }],
        target: { kubernetes: { credentials: { secretRef: { name: 'kube' } } } },
        policy: { rules: [{ name: 'no-nc', when: "command.parameters.exists(p, p == 'nc')", action: 'Deny' }] },
      },
    },
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'tokens', namespace: 'shop' }, stringData: { claude: TOKEN } },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'kube', namespace: 'shop' },
      stringData: { kubeconfig },
    },
  ]
  const manifest = join(scope.folder, 'access.yaml')
  writeFileSync(manifest, objects.map((object) => JSON.stringify(object)).join('\n---\n'))
  const serve = await startServe(scope, manifest, join(scope.folder, 'evidence'))
  const proxied = join(scope.folder, 'proxied')
  writeFileSync(proxied, kubeconfigText({ server: `https://127.0.0.1:${serve.port}`, 'certificate-authority': serve.ca }, { token: TOKEN }))
  const data = join(scope.folder, 'data')
  await succeed('sh', ['-c', `head -c ${BYTES} /dev/urandom > ${data}`])

  const ways = {
    'out of a pod': (config: string) => `kubectl --kubeconfig ${config} exec bench -- head -c ${BYTES} /dev/zero | wc -c`,
    'into a pod': (config: string) => `kubectl --kubeconfig ${config} exec -i bench -- wc -c < ${data}`,
  }
  for (const [name, script] of Object.entries(ways)) {
    const seconds: [number[], number[]] = [[], []]
    let grown = 0
    for (let round = 0; round <= ROUNDS; round++) {
      for (const [i, config] of [direct, proxied].entries()) {
        const began = performance.now()
        grown = Math.max(
          grown,
          await growth(serve.process.pid!, async () => {
            const counted = await succeed('sh', ['-c', script(config)])
            if (Number(counted) !== BYTES) throw new Error(`${name}: ${counted.trim()} bytes of ${BYTES}`)
          }),
        )
        if (round > 0) seconds[i]!.push((performance.now() - began) / 1000)
      }
    }
    const [base, through] = seconds.map(median) as [number, number]
    console.log(
      `- kubectl exec, ${Math.round(BYTES / 2 ** 20)} MiB ${name}: the proxy has ${(base / through).toFixed(2)} of the throughput of direct (${(BYTES / 2 ** 20 / base).toFixed(0)} MiB/s); its memory at most +${Math.round(grown)} MB`,
    )
  }
} finally {
  await kubectl('delete', 'pod', 'bench', '--force', '--grace-period=0').catch(() => {})
  await scope.close()
}
