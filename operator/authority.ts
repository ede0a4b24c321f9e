// The operator's certificate authority, kept in its own namespace, and its client certificate.
import type { V1Secret } from '@kubernetes/client-node'
import { issueCertificate, isCurrent, makeAuthority, type KeyPair } from './certificates.ts'
import type { Cluster } from './cluster.ts'
import { OWNED } from './desired/names.ts'

export const CA_SECRET = 'agentaccess-ca'

/** The authority that is kept; made, where there is none. */
export async function keptAuthority(cluster: Cluster, namespace: string): Promise<KeyPair> {
  const kept = await cluster.read<V1Secret>('v1', 'Secret', CA_SECRET, namespace)
  const [certificate, privateKey] = ['tls.crt', 'tls.key'].map((key) => Buffer.from(kept?.data?.[key] ?? '', 'base64').toString('utf8'))
  if (certificate && privateKey) return { certificate, privateKey }
  const made = await makeAuthority('AgentAccess CA')
  const data = { 'tls.crt': Buffer.from(made.certificate).toString('base64'), 'tls.key': Buffer.from(made.privateKey).toString('base64') }
  await cluster.apply<V1Secret>({ apiVersion: 'v1', kind: 'Secret', metadata: { name: CA_SECRET, namespace, labels: OWNED }, type: 'kubernetes.io/tls', data })
  return made
}

/** The operator's own certificate, by which proxies know who asks for their state; renewed when it is asked for late. */
export function operatorCertificate(authority: KeyPair): () => Promise<KeyPair> {
  let pair: KeyPair | undefined
  return async () => {
    if (!pair || !isCurrent(pair, authority, [])) pair = await issueCertificate(authority, 'agentaccess-operator', [])
    return pair
  }
}
