// make bench, second part: requests to an API server, directly, through a bare Node pipe, `kubectl proxy` and the proxy, interleaved in one run.
import { writeFileSync } from 'node:fs'
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https'
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { kubeconfigText, kubectlProgram, startKubeApiServer } from '../kube-apiserver.ts'
import { freePort } from '../postgres.ts'
import { Scope } from '../scope.ts'
import { startServe } from '../serve-process.ts'
import { growth, median } from './measures.ts'
import { barePipe } from './ways.ts'

const PODS = Number(process.env.BENCH_PODS ?? 5000)
const GETS = Number(process.env.BENCH_GETS ?? 1000)
/** Requests of one way before the next has its turn. */
const TURN = 25
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3)
const TOKEN = 'token-of-claude-0123456789'

const scope = new Scope('bench-kubernetes')
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void scope.close().finally(() => process.exit(130)))

interface Way {
  name: string
  /** For kubectl. */
  kubeconfig: string
  secure: boolean
  options: RequestOptions
  headers?: Record<string, string>
}

/** One request over a connection that is kept. Milliseconds. */
function get(way: Way, path: string, method = 'GET', body?: string): Promise<number> {
  const began = performance.now()
  return new Promise((resolve, reject) => {
    const headers = { ...way.headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }
    const sent = (way.secure ? httpsRequest : httpRequest)({ ...way.options, path, method, headers }, (response) => {
      response.resume().once('end', () => {
        if (response.statusCode! < 300) resolve(performance.now() - began)
        else reject(new Error(`${way.name}: ${method} ${path}: ${response.statusCode}`))
      })
    })
    sent.once('error', reject).end(body)
  })
}

const POD = (name: string) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { generateName: `${name}-`, labels: { app: name, tier: 'web' } },
  spec: {
    containers: [{ name: 'web', image: 'registry.example/web:1', env: Array.from({ length: 8 }, (_, i) => ({ name: `SETTING_${i}`, value: 'x'.repeat(40) })) }],
  },
})

try {
  const api = await startKubeApiServer(scope)
  const manifest = join(scope.folder, 'access.yaml')
  writeFileSync(
    manifest,
    `apiVersion: agentaccess.dev/v1alpha1
kind: AgentAccess
metadata: {name: cluster, namespace: shop}
spec:
  agents: [{name: claude, token: {secretRef: {name: tokens, key: claude}}}]
  target: {kubernetes: {credentials: {secretRef: {name: kube}}}}
  policy:
    rules:
      - {name: no-deletes, when: "command.verb in ['delete', 'deletecollection']", action: Deny}
      - {name: no-shells, when: "command.verb == 'exec' && command.namespace == 'prod'", action: Deny}
      - {name: no-prod, when: "command.labels.exists(l, l == 'tier' && command.labels[l] == 'prod')", action: Deny}
---
{apiVersion: v1, kind: Secret, metadata: {name: tokens, namespace: shop}, stringData: {claude: ${TOKEN}}}
---
apiVersion: v1
kind: Secret
metadata: {name: kube, namespace: shop}
stringData: {kubeconfig: '${api.kubeconfig}'}
`,
  )
  const serve = await startServe(scope, manifest, join(scope.folder, 'evidence'))
  const peerPort = await freePort()
  const direct = join(scope.folder, 'direct')
  writeFileSync(direct, api.kubeconfig)
  scope.spawn(kubectlProgram, ['--kubeconfig', direct, 'proxy', '--port', String(peerPort)], { stdio: 'ignore' })
  const config = (name: string, server: string, user: object) => {
    const file = join(scope.folder, name)
    const cluster = { server, ...(server.startsWith('https') ? { 'insecure-skip-tls-verify': true } : {}) }
    writeFileSync(file, kubeconfigText(cluster, user))
    return file
  }
  const admin = (JSON.parse(api.kubeconfig) as { users: { user: Record<string, string> }[] }).users[0]!.user
  const decoded = (field: string) => Buffer.from(admin[field]!, 'base64')
  const ofAdmin = { cert: decoded('client-certificate-data'), key: decoded('client-key-data') }
  const pipe = await barePipe(scope, api.port)
  const kept = { keepAlive: true, maxSockets: 1, rejectUnauthorized: false }
  const ways: Way[] = [
    {
      name: 'direct',
      kubeconfig: direct,
      secure: true,
      options: { port: api.port, agent: new Agent({ ...kept, ...ofAdmin }) },
    },
    {
      name: 'bare pipe',
      kubeconfig: config('pipe', `https://127.0.0.1:${pipe.port}`, admin),
      secure: true,
      options: { port: pipe.port, agent: new Agent({ ...kept, ...ofAdmin }) },
    },
    {
      name: 'kubectl proxy',
      kubeconfig: config('peer', `http://127.0.0.1:${peerPort}`, {}),
      secure: false,
      options: { port: peerPort, agent: new HttpAgent(kept) },
    },
    {
      name: 'proxy',
      kubeconfig: config('proxy', `https://127.0.0.1:${serve.port}`, { token: TOKEN }),
      secure: true,
      options: { port: serve.port, agent: new Agent(kept) },
      headers: { authorization: `Bearer ${TOKEN}` },
    },
  ]
  const many: Way = {
    ...ways[0]!,
    options: { ...ways[0]!.options, agent: new Agent({ ...kept, maxSockets: 8, ...ofAdmin }) },
  }
  for (let made = 0; made < PODS; made += 100)
    await Promise.all(Array.from({ length: 100 }, () => get(many, '/api/v1/namespaces/default/pods', 'POST', JSON.stringify(POD('web')))))

  const listing: number[][] = ways.map(() => [])
  const small: number[][] = ways.map(() => [])
  const list = async (i: number) => {
    const { kubeconfig, name } = ways[i]!
    const began = performance.now()
    const args = ['-c', `${kubectlProgram} --kubeconfig ${kubeconfig} --cache-dir ${join(scope.folder, `cache${i}`)} get pods -A > /dev/null`]
    const { code, stderr } = await scope.run('sh', args)
    if (code !== 0) throw new Error(`${name}: ${stderr}`)
    return performance.now() - began
  }
  let grown = 0
  for (let round = 0; round <= ROUNDS; round++) {
    for (const i of ways.keys()) {
      grown = Math.max(
        grown,
        await growth(serve.process.pid!, async () => {
          const took = await list(i)
          // The first fills kubectl's own cache.
          if (round > 0) listing[i]!.push(took)
        }),
      )
    }
    // In short turns: what else the machine does meanwhile is the same for all.
    for (let n = 0; n < GETS; n += TURN) {
      for (const [i, way] of ways.entries()) {
        for (let k = 0; k < TURN; k++) {
          const took = await get(way, '/api/v1/namespaces/default')
          if (round > 0) small[i]!.push(took)
        }
      }
    }
  }
  const base = median(listing[0]!)
  console.log(
    `\n- kubectl get pods -A of ${PODS} pods: ${ways
      .slice(1)
      .map(({ name }, i) => `${name} ${(median(listing[i + 1]!) / base).toFixed(2)}`)
      .join(', ')} × direct (${(base / 1000).toFixed(2)} s); memory of the proxy at most +${Math.round(grown)} MB`,
  )
  const one = median(small[0]!)
  console.log(
    `- ${GETS} small GETs over one connection, median: direct ${one.toFixed(2)} ms, ${ways
      .slice(1)
      .map(({ name }, i) => `${name} +${(median(small[i + 1]!) - one).toFixed(2)} ms`)
      .join(', ')}`,
  )
} finally {
  await scope.close()
}
