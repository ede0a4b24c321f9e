// What the proxies of a namespace may do at the API server: watch the Secrets that are theirs, by name; look up pods where
// agents live that are known by their pod; have tokens reviewed.
import type { RbacV1Subject, V1ClusterRoleBinding, V1Role, V1RoleBinding, V1ServiceAccount } from '@kubernetes/client-node'
import { accessSecretName, SETTINGS_SECRET } from '@agentaccess/proxy/cluster/settings'
import { OWNED, ownedMetadata, PROXY, type StoredAccess } from './names.ts'

const RBAC = 'rbac.authorization.k8s.io'
/** Made by the chart: `get` and `list` of pods, and nothing else. */
const POD_READER = 'agentaccess-pod-reader'
const TOKEN_REVIEWS = 'agentaccess-proxy-token-reviews'

const proxyOf = (namespace: string): RbacV1Subject => ({ kind: 'ServiceAccount', name: PROXY, namespace })

export function proxyServiceAccount(namespace: string, owners: readonly StoredAccess[], annotations: Record<string, string>): V1ServiceAccount {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { ...ownedMetadata(PROXY, namespace, owners), annotations } }
}

/** `accesses`: names of those that the proxies serve. */
export function proxyRole(namespace: string, owners: readonly StoredAccess[], accesses: readonly string[]): V1Role {
  const resourceNames = [SETTINGS_SECRET, ...accesses.map(accessSecretName)].sort()
  // The admission policy has seen to it that their authors could have such tokens, too.
  const injected = [...new Set(owners.flatMap(({ spec }) => spec.target.kubernetes?.serviceAccount?.name ?? []))].sort()
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'Role',
    metadata: ownedMetadata(PROXY, namespace, owners),
    rules: [
      { apiGroups: [''], resources: ['secrets'], verbs: ['get', 'list', 'watch'], resourceNames },
      ...(injected.length > 0 ? [{ apiGroups: [''], resources: ['serviceaccounts/token'], verbs: ['create'], resourceNames: injected }] : []),
    ],
  }
}

export function proxyRoleBinding(namespace: string, owners: readonly StoredAccess[]): V1RoleBinding {
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'RoleBinding',
    metadata: ownedMetadata(PROXY, namespace, owners),
    roleRef: { apiGroup: RBAC, kind: 'Role', name: PROXY },
    subjects: [proxyOf(namespace)],
  }
}

/** In a namespace where agents live: an owner must be in the same namespace, so this one has none, and is taken back by hand. */
export function podReaderBinding(agentsNamespace: string, proxyNamespace: string): V1RoleBinding {
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'RoleBinding',
    metadata: { name: podReaderName(proxyNamespace), namespace: agentsNamespace, labels: { ...OWNED, [POD_READER_OF]: proxyNamespace } },
    roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: POD_READER },
    subjects: [proxyOf(proxyNamespace)],
  }
}

/** The label of such a binding: the namespace whose proxies may look. */
export const POD_READER_OF = 'agentaccess.dev/pod-reader-of'
const podReaderName = (proxyNamespace: string) => `agentaccess-pod-reader-${proxyNamespace}`

/** The namespaces in which agents live that are known by their pod. */
export const podNamespaces = (accesses: readonly StoredAccess[]): string[] => agentNamespaces(accesses, 'Pod')

/** The namespaces of agents' ServiceAccounts; with `proof`, of those that may be proven so. */
export function agentNamespaces(accesses: readonly StoredAccess[], proof?: 'Token' | 'Pod'): string[] {
  const named = accesses.flatMap(({ metadata, spec }) =>
    spec.agents.flatMap(({ serviceAccount }) =>
      serviceAccount && (proof === undefined || serviceAccount.proofs.includes(proof)) ? [serviceAccount.namespace ?? metadata.namespace] : [],
    ),
  )
  return [...new Set(named)].sort()
}

/** TokenReview is of the cluster, not of a namespace: one binding for the proxies of all namespaces. */
export function tokenReviewBinding(namespaces: readonly string[]): V1ClusterRoleBinding {
  return {
    apiVersion: `${RBAC}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name: TOKEN_REVIEWS, labels: OWNED },
    roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: TOKEN_REVIEWS },
    subjects: [...namespaces].sort().map(proxyOf),
  }
}
