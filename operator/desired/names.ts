// Names, labels and owners of what the operator makes in a namespace.
import type { V1OwnerReference } from '@kubernetes/client-node'
import type { AgentAccess } from '@agentaccess/crds'
import { PROXY_NAME } from '@agentaccess/proxy/cluster/settings'

export const MANAGER = 'agentaccess-operator'
export const PROXY = PROXY_NAME
export const CA_CONFIG_MAP = 'agentaccess-ca'
/** Behind the name of an access: its Service. */
const SERVICE_SUFFIX = '-agentaccess'
/** Of a DNS label (RFC 1035), with the suffix on it. */
export const MAX_ACCESS_NAME = 63 - SERVICE_SUFFIX.length

export const serviceName = (access: string): string => access + SERVICE_SUFFIX

/** What all objects of ours have: watches go by it. */
export const OWNED = { 'app.kubernetes.io/managed-by': MANAGER }
/** What the proxies' pods have. */
export const PROXY_PODS = { 'app.kubernetes.io/name': PROXY }

/** An access with what the API server adds to it. */
export interface StoredAccess extends AgentAccess {
  metadata: AgentAccess['metadata'] & {
    uid: string
    generation: number
    resourceVersion: string
    creationTimestamp: Date
    deletionTimestamp?: Date
    finalizers?: string[]
    annotations?: Record<string, string>
  }
}

function ownerOf({ apiVersion, kind, metadata: { name, uid } }: StoredAccess): V1OwnerReference {
  return { apiVersion, kind, name, uid }
}

interface Metadata {
  name: string
  namespace: string
  labels: Record<string, string>
  ownerReferences: V1OwnerReference[]
}

/** Metadata of an object that goes when the last of its owners does. */
export function ownedMetadata(name: string, namespace: string, owners: readonly StoredAccess[], labels: Record<string, string> = {}): Metadata {
  return { name, namespace, labels: { ...OWNED, ...labels }, ownerReferences: owners.map(ownerOf) }
}

/** DNS names that agents may know a namespace's proxies by. */
export function certificateNames(namespace: string, accesses: readonly AgentAccess[]): string[] {
  const inCluster = (service: string) => ['', `.${namespace}`, `.${namespace}.svc`, `.${namespace}.svc.cluster.local`].map((suffix) => service + suffix)
  const names = accesses.flatMap(({ metadata, spec }) => [...inCluster(serviceName(metadata.name)), ...(spec.service?.names ?? [])])
  return [...new Set([...inCluster(PROXY), ...names])].sort()
}
