// Makes a namespace as its accesses want it.
import type { KubernetesObject, V1ConfigMap, V1RoleBinding, V1Secret, V1StatefulSet } from '@kubernetes/client-node'
import { generateSigningKeyPem, signerFromPem } from '@agentaccess/recording'
import { SETTINGS_KEYS, SETTINGS_SECRET, type SettingsFile } from '@agentaccess/proxy/cluster/settings'
import { issueCertificate, isCurrent, type KeyPair } from './certificates.ts'
import { isStatus, type Cluster } from './cluster.ts'
import { compileAll } from './compile-all.ts'
import { accessSecret, accessService } from './desired/access-objects.ts'
import { certificateNames, OWNED, type StoredAccess } from './desired/names.ts'
import { proxyNetworkPolicy } from './desired/network-policy.ts'
import { disruptionBudget, headlessService, proxyStatefulSet } from './desired/proxy-workload.ts'
import { POD_READER_OF, podNamespaces, podReaderBinding, proxyRole, proxyRoleBinding, proxyServiceAccount, tokenReviewBinding } from './desired/rights.ts'
import { allocatePorts, caConfigMap, settingsSecret } from './desired/settings-secret.ts'
import type { OperatorSettings } from './settings.ts'
import type { Outcome } from './status.ts'
import type { Watches } from './watch.ts'

export interface ReconcilerOptions {
  cluster: Cluster
  watches: Watches
  settings: OperatorSettings
  authority: KeyPair
}

export class Reconciler {
  readonly #options: ReconcilerOptions
  /** What became of each access, by namespace: its status is made of it. */
  readonly #outcomes = new Map<string, Map<string, Outcome>>()

  constructor(options: ReconcilerOptions) {
    this.#options = options
  }

  /** Undefined where the access has not been looked at yet. */
  outcome({ metadata: { namespace, name } }: StoredAccess): Outcome | undefined {
    return this.#outcomes.get(namespace)?.get(name)
  }

  /** @throws what the API server says */
  async reconcile(namespace: string): Promise<void> {
    const { cluster, watches } = this.#options
    const accesses = watches.accesses(namespace).filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    await this.#podReaders(namespace, podNamespaces(accesses))
    await cluster.apply(tokenReviewBinding(watches.namespaces()))
    if (accesses.length === 0) {
      // What was made here has the accesses as its owners, and goes with them.
      this.#outcomes.delete(namespace)
      await watches.forget(namespace)
      return
    }
    const outcomes = compileAll(accesses, await watches.secrets(namespace), ['serviceAccount', 'retention', 'service'])
    for (const object of await this.#desired(namespace, accesses, outcomes)) await this.#apply(object)
    this.#outcomes.set(namespace, new Map([...outcomes].map(([{ metadata }, outcome]) => [metadata.name, outcome])))
  }

  /** In the order in which they are needed: rights before what uses them, what proxies read before the proxies. */
  async #desired(namespace: string, accesses: readonly StoredAccess[], outcomes: ReadonlyMap<StoredAccess, Outcome>): Promise<KubernetesObject[]> {
    const { cluster, settings, authority } = this.#options
    const { proxy, clientCa, evidence } = settings
    // Not from a watch, which may be late: a key that is there must never be replaced.
    const known = new KnownSettings(await cluster.read<V1Secret>('v1', 'Secret', SETTINGS_SECRET, namespace))
    const names = accesses.map(({ metadata }) => metadata.name)
    const ports = allocatePorts(names, known.ports())
    const good = [...outcomes].flatMap(([access, outcome]) => ('config' in outcome ? [{ access, config: outcome.config }] : []))
    const open = new Set(good.map(({ access }) => access.metadata.name))
    const hostNames = certificateNames(namespace, accesses)
    const serving = isCurrent(known.serving(), authority, hostNames) ? known.serving()! : await issueCertificate(authority, 'agentaccess-proxy', hostNames)
    const signingKey = known.text(SETTINGS_KEYS.signingKey) ?? generateSigningKeyPem()
    const file: SettingsFile = { accesses: names.map((name) => ({ name, port: ports.get(name)!, ...(open.has(name) ? {} : { closed: true }) })), evidence }
    // What a proxy reads only when it starts.
    const startup = JSON.stringify({ evidence, signingKey: signerFromPem(signingKey).keyId, clientCa: clientCa ?? '' })
    return [
      await this.#publicKeys(namespace, signingKey),
      proxyServiceAccount(namespace, accesses, proxy.serviceAccountAnnotations),
      proxyRole(namespace, accesses, names),
      proxyRoleBinding(namespace, accesses),
      caConfigMap(namespace, accesses, authority.certificate),
      ...good.map(({ access, config }) => accessSecret(access, config)),
      settingsSecret(namespace, accesses, { file, serving, signingKey, clientCa, authority: authority.certificate }),
      ...accesses.map((access) => accessService(access, ports.get(access.metadata.name)!)),
      headlessService(namespace, accesses),
      proxyNetworkPolicy(namespace, accesses, [...ports.values()], settings.namespace),
      disruptionBudget(namespace, accesses),
      proxyStatefulSet(namespace, accesses, proxy, startup),
    ]
  }

  async #apply(object: KubernetesObject): Promise<void> {
    const { cluster } = this.#options
    try {
      await cluster.apply(object)
    } catch (error) {
      if (object.kind !== 'StatefulSet' || !isStatus(error, 422)) throw error
      // Some of its fields can't be changed: it is made anew around its pods, which go on.
      await cluster.delete(object, true)
      await cluster.apply(object as V1StatefulSet)
    }
  }

  /** Public keys outlive accesses: they are kept in the operator's namespace, old ones too. */
  async #publicKeys(namespace: string, signingKey: string): Promise<V1ConfigMap> {
    const { cluster, settings } = this.#options
    const { keyId, publicKey } = signerFromPem(signingKey)
    const metadata = { name: `agentaccess-public-keys-${namespace}`, namespace: settings.namespace, labels: { ...OWNED, [PUBLIC_KEYS_OF]: namespace } }
    const before = await cluster.read<V1ConfigMap>('v1', 'ConfigMap', metadata.name, metadata.namespace)
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    return { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { ...before?.data, [`${keyId}.pem`]: pem } }
  }

  async #podReaders(namespace: string, wanted: readonly string[]): Promise<void> {
    const { cluster } = this.#options
    for (const agents of wanted) await cluster.apply(podReaderBinding(agents, namespace))
    for (const binding of await cluster.list<V1RoleBinding>(`rbac.authorization.k8s.io/v1`, 'RoleBinding', undefined, { [POD_READER_OF]: namespace }))
      if (!wanted.includes(binding.metadata!.namespace!)) await cluster.delete(binding)
  }
}

export const PUBLIC_KEYS_OF = 'agentaccess.dev/public-keys-of'

/** What the settings' Secret of a namespace says now: ports, keys and certificates are kept. */
class KnownSettings {
  readonly #data: Record<string, string>

  constructor(secret: V1Secret | undefined) {
    this.#data = secret?.data ?? {}
  }

  text(key: string): string | undefined {
    const value = this.#data[key]
    return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8')
  }

  ports(): Map<string, number> {
    const json = this.text(SETTINGS_KEYS.settings)
    return new Map(json === undefined ? [] : (JSON.parse(json) as SettingsFile).accesses.map(({ name, port }) => [name, port]))
  }

  serving(): KeyPair | undefined {
    const [certificate, privateKey] = [this.text(SETTINGS_KEYS.certificate), this.text(SETTINGS_KEYS.privateKey)]
    return certificate && privateKey ? { certificate, privateKey } : undefined
  }
}
