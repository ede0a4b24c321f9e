// Agents that are not in the cluster, and the certificates by which they know the proxy.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { issueCertificate } from '../../../operator/certificates.ts'
import { findProgram } from '../../scope.ts'
import { agentAccess, agentPod, condition, SYSTEM } from '../installation.ts'
import { apply, eventually, get, kubectl, run } from '../kubectl.ts'
import { NODE } from '../node.ts'
import { openSession } from '../open-session.ts'
import { sessionWith, startOf } from '../sessions-in-bucket.ts'

const NAME = 'orders.agents.example'

interface Service {
  metadata: { annotations?: Record<string, string> }
  spec: { clusterIP: string; ports: { nodePort: number }[] }
}

interface SecretObject {
  metadata: { resourceVersion: string }
  data: Record<string, string>
}

const service = () => get<Service>('service', 'orders-agentaccess', '-n', 'shop')
const settings = () => get<SecretObject>('secret', 'agentaccess-proxy', '-n', 'shop')

/** Serial number and end of the certificate that the proxies show; PostgreSQL documentation, 54.2.11: TLS may be begun directly. */
async function served(): Promise<{ serialNumber: string; valid_to: string }> {
  const { clusterIP } = (await service()).spec
  return new Promise((resolve, reject) => {
    const socket = connect({ host: clusterIP, port: 5432, ALPNProtocols: ['postgresql'], rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate())
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

export function outside(): void {
  test('an agent outside the cluster connects to a port of the node, by a name that the access gives', async () => {
    const spec = { service: { type: 'NodePort', names: [NAME], annotations: { 'example.com/for': 'agents' } } }
    await apply(agentAccess('orders', 'shop', spec))
    const { metadata, port } = await eventually('a port of the node', async () => {
      const { metadata: found, spec: made } = await service()
      return made.ports[0]!.nodePort > 0 && { metadata: found, port: made.ports[0]!.nodePort }
    })
    assert.equal(metadata.annotations?.['example.com/for'], 'agents')
    const token = (await kubectl('create', 'token', 'cursor', '-n', 'agents', '--audience', 'agentaccess.dev/shop')).trim()
    const ca = await kubectl('get', 'configmap', 'agentaccess-ca', '-n', 'shop', '-o', 'jsonpath={.data.ca\\.crt}')
    const psqlProgram = (await findProgram('psql'))!
    const script = `printf %s "$CA" > "$0" && PGPASSWORD=$TOKEN exec ${psqlProgram} "$1" -AtXc "SELECT 'from outside'"; rm "$0"`
    const as = (name: string) => {
      const connection = `host=${name} hostaddr=${NODE.address} port=${port} dbname=orders user=anyone sslmode=verify-full sslrootcert=/tmp/agentaccess-e2e-ca.crt`
      return run('env', [`CA=${ca}`, `TOKEN=${token}`, 'sh', '-c', script, '/tmp/agentaccess-e2e-ca.crt', connection])
    }
    await eventually('a session from outside', async () => (await as(NAME)).stdout === 'from outside\n', 20)
    const start = startOf(await sessionWith('from outside'))
    assert.equal(start['gen_ai.agent.name'], 'cursor')
    assert.match(String(start['client.address']), /^\d+\.\d+\.\d+\.\d+$/)
    assert.match((await as('another.agents.example')).stderr, /does not match host name/)
    await apply(agentAccess('orders', 'shop'))
    await condition('orders', 'shop', 'Ready', 'True')
  })

  test('a certificate that is about to end is renewed, and taken by running proxies: no session notices', async () => {
    await agentPod('outsider', { serviceAccount: 'claude' })
    const session = await openSession('outsider', 'host=orders-agentaccess.shop.svc dbname=orders user=anyone')
    const [before, { data }] = [await served(), await settings()]
    const ca = (await get<SecretObject>('secret', 'agentaccess-ca', '-n', SYSTEM)).data
    const text = (value: string | undefined) => Buffer.from(value ?? '', 'base64').toString('utf8')
    const authority = { certificate: text(ca['tls.crt']), privateKey: text(ca['tls.key']) }
    const { certificate, privateKey } = await issueCertificate(authority, 'agentaccess-proxy', ['agentaccess-proxy.shop.svc'], 20)
    await kubectl('patch', 'secret', 'agentaccess-proxy', '-n', 'shop', '-p', JSON.stringify({ stringData: { 'tls.crt': certificate, 'tls.key': privateKey } }))
    const after = await eventually('another certificate', async () => {
      const now = await served()
      return now.serialNumber !== before.serialNumber && new Date(now.valid_to).getTime() - Date.now() > 60 * 86_400_000 && now
    })
    assert.notEqual((await settings()).data['tls.crt'], data['tls.crt'])
    assert.ok(new Date(after.valid_to).getTime() >= new Date(before.valid_to).getTime())
    assert.match(await session.query("SELECT 'with the other certificate'"), /with the other certificate/)
    await session.end()
    await kubectl('delete', 'pod', 'outsider', '-n', 'agents', '--force', '--grace-period=0')
    const pod = await get<{ status: { containerStatuses: { restartCount: number }[] } }>('pod', 'agentaccess-proxy-0', '-n', 'shop')
    assert.equal(pod.status.containerStatuses[0]!.restartCount, 0)
  })
}
