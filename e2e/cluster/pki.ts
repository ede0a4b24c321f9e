// The cluster's certificates: one CA signs everything, by openssl.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Scope } from '../scope.ts'
import { NODE } from './node.ts'

export const API_SERVER = 'https://127.0.0.1:6443'
const SERVICE_ADDRESS = '10.96.0.1'

/** File name → subject, and names for what is also a server. */
const LEAVES: Record<string, [subject: string, names?: string]> = {
  apiserver: [
    '/CN=kube-apiserver',
    `DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:${SERVICE_ADDRESS},IP:${NODE.address}`,
  ],
  'kubelet-client': ['/O=system:masters/CN=kube-apiserver-kubelet-client'],
  admin: ['/O=system:masters/CN=admin'],
  'controller-manager': ['/CN=system:kube-controller-manager'],
  scheduler: ['/CN=system:kube-scheduler'],
  kubelet: [`/O=system:nodes/CN=system:node:${NODE.name}`, `DNS:${NODE.name},IP:127.0.0.1,IP:${NODE.address}`],
  proxy: ['/CN=system:kube-proxy'],
  coredns: ['/O=system:masters/CN=coredns'],
  'front-proxy': ['/CN=front-proxy-client'],
}

/** Writes keys, certificates and a kubeconfig for each client into `folder`. */
export async function makePki(scope: Scope, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const openssl = async (...args: string[]) => {
    const { code, stderr } = await scope.run('openssl', args, { cwd: folder })
    if (code !== 0) throw new Error(`openssl ${args[0]}: ${stderr}`)
  }
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await openssl('req', '-x509', ...ec, '-days', '3650', '-subj', '/CN=kubernetes', '-keyout', 'ca.key', '-out', 'ca.crt')
  await openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', 'sa.key')
  await openssl('pkey', '-in', 'sa.key', '-pubout', '-out', 'sa.pub')
  for (const [name, [subject, names]] of Object.entries(LEAVES)) {
    writeFileSync(join(folder, `${name}.ext`), `extendedKeyUsage=serverAuth,clientAuth\n${names ? `subjectAltName=${names}\n` : ''}`)
    await openssl('req', '-new', ...ec, '-subj', subject, '-keyout', `${name}.key`, '-out', `${name}.csr`)
    const signing = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '3650', '-extfile', `${name}.ext`]
    await openssl('x509', '-req', '-in', `${name}.csr`, ...signing, '-out', `${name}.crt`)
    writeFileSync(join(folder, `${name}.kubeconfig`), kubeconfig(folder, name))
  }
}

function kubeconfig(folder: string, name: string): string {
  const cluster = { server: API_SERVER, 'certificate-authority': join(folder, 'ca.crt') }
  const user = { 'client-certificate': join(folder, `${name}.crt`), 'client-key': join(folder, `${name}.key`) }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'e2e', cluster }],
    users: [{ name, user }],
    contexts: [{ name: 'e2e', context: { cluster: 'e2e', user: name } }],
    'current-context': 'e2e',
  })
}
