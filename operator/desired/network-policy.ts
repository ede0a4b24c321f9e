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
