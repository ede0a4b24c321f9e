// The Secret that tells the proxies of a namespace what they are: where each access listens, where evidence goes, and keys.
import type { V1ConfigMap, V1Secret } from '@kubernetes/client-node'
import { SETTINGS_KEYS, SETTINGS_SECRET, type SettingsFile } from '@agentaccess/proxy/cluster/settings'
import type { KeyPair } from '../certificates.ts'
import { CA_CONFIG_MAP, OWNED, ownedMetadata, type StoredAccess } from './names.ts'

export interface SettingsContent {
  file: SettingsFile
  serving: KeyPair
  signingKey: string
  clientCa: string | undefined
  authority: string
}

export function settingsSecret(namespace: string, owners: readonly StoredAccess[], content: SettingsContent): V1Secret {
  const { file, serving, signingKey, clientCa, authority } = content
  const values = {
    [SETTINGS_KEYS.settings]: JSON.stringify(file),
    [SETTINGS_KEYS.certificate]: serving.certificate,
    [SETTINGS_KEYS.privateKey]: serving.privateKey,
    [SETTINGS_KEYS.signingKey]: signingKey,
    [SETTINGS_KEYS.operatorCa]: authority,
    ...(clientCa === undefined ? {} : { [SETTINGS_KEYS.clientCa]: clientCa }),
  }
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(SETTINGS_SECRET, namespace, owners),
    type: 'agentaccess.dev/proxy',
    data: Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
  }
}

/** By which agents know the proxies. */
export function caConfigMap(namespace: string, owners: readonly StoredAccess[], authority: string): V1ConfigMap {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: ownedMetadata(CA_CONFIG_MAP, namespace, owners), data: { 'ca.crt': authority } }
}

/** Of such a ConfigMap in a namespace where agents live and no access is: it has no owner there. */
export const FOR_AGENTS = { 'agentaccess.dev/for-agents': 'true' }

export function agentsCaConfigMap(namespace: string, authority: string): V1ConfigMap {
  const metadata = { name: CA_CONFIG_MAP, namespace, labels: { ...OWNED, ...FOR_AGENTS } }
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { 'ca.crt': authority } }
}

/** The lowest port that no other access has; one that an access has, it keeps. */
export function allocatePorts(accesses: readonly string[], taken: ReadonlyMap<string, number>): Map<string, number> {
  const ports = new Map<string, number>()
  for (const name of accesses) {
    const port = taken.get(name)
    if (port !== undefined && ![...ports.values()].includes(port)) ports.set(name, port)
  }
  let next = FIRST_PORT
  for (const name of accesses) {
    if (ports.has(name)) continue
    while ([...ports.values()].includes(next)) next++
    ports.set(name, next)
  }
  return ports
}

const FIRST_PORT = 20_000
