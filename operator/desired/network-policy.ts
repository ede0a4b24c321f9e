// Who may reach the proxies: agents, at the accesses' ports; the operator, for their state; whoever scrapes their metrics.
import type { V1NetworkPolicy } from '@kubernetes/client-node'
import { METRICS_PORT, STATE_PORT } from '@agentaccess/proxy/cluster/settings'
import { OWNED, ownedMetadata, PROXY, PROXY_PODS, type StoredAccess } from './names.ts'

export function proxyNetworkPolicy(namespace: string, owners: readonly StoredAccess[], ports: readonly number[], operatorNamespace: string): V1NetworkPolicy {
  const tcp = (port: number) => ({ protocol: 'TCP', port })
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: ownedMetadata(PROXY, namespace, owners, PROXY_PODS),
    spec: {
      podSelector: { matchLabels: { ...OWNED, ...PROXY_PODS } },
      policyTypes: ['Ingress'],
      ingress: [
        {
          ports: [...ports]
            .sort((a, b) => a - b)
            .map(tcp)
            .concat(tcp(METRICS_PORT)),
        },
        { _from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': operatorNamespace } } }], ports: [tcp(STATE_PORT)] },
      ],
    },
  }
}

/** Of such a policy: the access that asks for it. */
export const ISOLATES = 'agentaccess.dev/isolates'

/** Where an access asks for it: only the proxies reach the target's pods. A network that ignores policies ignores this one, too. */
export function isolationPolicy(access: StoredAccess): V1NetworkPolicy | undefined {
  const { name, namespace } = access.metadata
  const isolate = access.spec.target.postgres?.isolate
  if (!isolate) return undefined
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: ownedMetadata(`${name}-agentaccess`, namespace, [access], { [ISOLATES]: name }),
    spec: {
      podSelector: { matchLabels: isolate.podSelector.matchLabels },
      policyTypes: ['Ingress'],
      ingress: [{ _from: [{ podSelector: { matchLabels: { ...OWNED, ...PROXY_PODS } } }] }],
    },
  }
}
