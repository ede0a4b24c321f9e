// Makes a namespace as its accesses want it.
import type { KubernetesObject, V1ConfigMap, V1Namespace, V1NetworkPolicy, V1RoleBinding, V1Secret } from '@kubernetes/client-node'
import { generateSigningKeyPem, signerFromPem } from '@agentaccess/recording'
import { SETTINGS_KEYS, SETTINGS_SECRET, type SettingsFile } from '@agentaccess/proxy/cluster/settings'
import { issueCertificate, isCurrent, type KeyPair } from './certificates.ts'
import { isStatus, type Cluster } from './cluster.ts'
import { compileAll } from './compile-all.ts'
import type { Ability } from './compile/index.ts'
import { accessSecret, accessService } from './desired/access-objects.ts'
import { certificateNames, OWNED, type StoredAccess } from './desired/names.ts'
import { ISOLATES, isolationPolicy, proxyNetworkPolicy } from './desired/network-policy.ts'
import { disruptionBudget, headlessService, proxyStatefulSet } from './desired/proxy-workload.ts'
import {
  agentNamespaces,
  POD_READER_OF,
  podNamespaces,
  podReaderBinding,
  proxyRole,
  proxyRoleBinding,
  proxyServiceAccount,
  tokenReviewBinding,
} from './desired/rights.ts'
import { agentsCaConfigMap, allocatePorts, caConfigMap, FOR_AGENTS, settingsSecret } from './desired/settings-secret.ts'
import type { ProxyStates } from './proxy-states.ts'
import { KnownSettings } from './known-settings.ts'
import type { OperatorSettings } from './settings.ts'
import { drainSpools, releaseSpools } from './spools.ts'
import type { Outcome } from './status.ts'
import type { Watches } from './watch.ts'

const ABILITIES: readonly Ability[] = ['serviceAccount', 'retention', 'service', 'isolate']
/** Holds the last access of a namespace until what it recorded is stored. */
const FINALIZER = 'agentaccess.dev/spool'
/** On an access that is being deleted: it goes at once, and what waits in the spool with it. */
const RELEASE = 'agentaccess.dev/release-spool'

export interface ReconcilerOptions {
  cluster: Cluster
  watches: Watches
  settings: OperatorSettings
  authority: KeyPair
  states: ProxyStates
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

  /** `again`: something takes its time, and is to be looked at soon. @throws what the API server says */
  async reconcile(namespace: string): Promise<'done' | 'again'> {
    const { cluster, watches, settings } = this.#options
    const all = watches.accesses(namespace)
    const accesses = all.filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    const leaving = all.filter(({ metadata }) => metadata.deletionTimestamp !== undefined && metadata.finalizers?.includes(FINALIZER))
    await this.#podReaders(namespace, podNamespaces(accesses))
    await this.#agentsCa()
    if (settings.tokenReview) await cluster.apply(tokenReviewBinding(watches.namespaces()))
    if (accesses.length > 0) return this.#serve(namespace, accesses, leaving)
    if (leaving.length > 0) return this.#leave(namespace, leaving)
    // What was made here has the accesses as its owners, and goes with them.
    this.#outcomes.delete(namespace)
    await watches.forget(namespace)
    return 'done'
  }

  async #serve(namespace: string, accesses: readonly StoredAccess[], leaving: readonly StoredAccess[]): Promise<'done' | 'again'> {
    const { cluster, watches, settings } = this.#options
    for (const access of accesses) {
      const { finalizers = [] } = access.metadata
      if (!finalizers.includes(FINALIZER)) await cluster.patchFinalizers(access, [...finalizers, FINALIZER])
    }
    const outcomes = compileAll(accesses, await watches.secrets(namespace), ABILITIES)
    for (const object of await this.#desired(namespace, accesses, outcomes, accesses, settings.proxy.replicas)) await this.#apply(object)
    this.#outcomes.set(namespace, new Map([...outcomes].map(([{ metadata }, outcome]) => [metadata.name, outcome])))
    await this.#endIsolation(namespace, accesses)
    // Others keep the proxies running, which store what these have left.
    for (const access of leaving) await this.#letGo(access)
    // Where spools are in emptyDirs, any claim is one from before.
    const { spool, replicas } = settings.proxy
    return (await drainSpools({ ...this.#options, settings: settings.proxy }, namespace, accesses, spool.emptyDir ? 0 : replicas)) > 0 ? 'again' : 'done'
  }

  /** The chart goes: as if all accesses of the namespace were deleted, but they stay. */
  withdraw(namespace: string): Promise<'done' | 'again'> {
    return this.#leave(namespace, this.#options.watches.accesses(namespace))
  }

  /** The last accesses of a namespace wait until what they recorded is stored. */
  async #leave(namespace: string, leaving: readonly StoredAccess[]): Promise<'done' | 'again'> {
    const { cluster, settings, states } = this.#options
    const { proxy } = settings
    // The namespace goes, its volumes too, and nothing can be made there that would store what waits in them.
    const { status } = (await cluster.read<V1Namespace>('v1', 'Namespace', namespace)) ?? {}
    if (status?.phase === 'Terminating') {
      for (const access of leaving) await this.#letGo(access)
      return 'done'
    }
    const released = leaving.some(({ metadata }) => metadata.annotations?.[RELEASE] === 'true')
    // A volume is drained after its proxy; without one, only the proxy itself can.
    const stay = proxy.spool.emptyDir && !released && !(await states.ask(namespace)).every(({ state }) => state?.settled)
    for (const object of await this.#desired(namespace, [], new Map(), leaving, stay ? proxy.replicas : 0)) await this.#apply(object)
    if (released) await releaseSpools(cluster, namespace)
    else if (stay || (await drainSpools({ ...this.#options, settings: proxy }, namespace, leaving, 0)) > 0) return 'again'
    for (const access of leaving) await this.#letGo(access)
    return 'done'
  }

  /** Of accesses that do not ask for it any more. */
  async #endIsolation(namespace: string, accesses: readonly StoredAccess[]): Promise<void> {
    const { cluster } = this.#options
    const wanted = new Set(accesses.flatMap((access) => isolationPolicy(access)?.metadata?.name ?? []))
    const policies = await cluster.list<V1NetworkPolicy>('networking.k8s.io/v1', 'NetworkPolicy', namespace, OWNED)
    for (const policy of policies) if (policy.metadata?.labels?.[ISOLATES] !== undefined && !wanted.has(policy.metadata.name!)) await cluster.delete(policy)
  }

  #letGo(access: StoredAccess): Promise<void> {
    const { finalizers = [] } = access.metadata
    return this.#options.cluster.patchFinalizers(
      access,
      finalizers.filter((name) => name !== FINALIZER),
    )
  }

  /** In the order in which they are needed: rights before what uses them, what proxies read before the proxies. */
  async #desired(
    namespace: string,
    accesses: readonly StoredAccess[],
    outcomes: ReadonlyMap<StoredAccess, Outcome>,
    owners: readonly StoredAccess[],
    replicas: number,
  ): Promise<KubernetesObject[]> {
    const { cluster, settings, authority } = this.#options
    const { proxy, clientCa, evidence, otlp } = settings
    // Not from a watch, which may be late: a key that is there must never be replaced.
    const known = new KnownSettings(await cluster.read<V1Secret>('v1', 'Secret', SETTINGS_SECRET, namespace))
    const names = accesses.map(({ metadata }) => metadata.name)
    const ports = allocatePorts(names, known.ports())
    const good = [...outcomes].flatMap(([access, outcome]) => ('config' in outcome ? [{ access, config: outcome.config }] : []))
    const open = new Set(good.map(({ access }) => access.metadata.name))
    const hostNames = certificateNames(namespace, accesses)
    const serving = isCurrent(known.serving(), authority, hostNames) ? known.serving()! : await issueCertificate(authority, 'agentaccess-proxy', hostNames)
    const signingKey = known.text(SETTINGS_KEYS.signingKey) ?? generateSigningKeyPem()
    const file: SettingsFile = {
      accesses: names.map((name) => ({ name, port: ports.get(name)!, ...(open.has(name) ? {} : { closed: true }) })),
      evidence,
      ...(otlp ? { otlp } : {}),
    }
    // What a proxy reads only when it starts.
    const startup = JSON.stringify({ evidence, otlp: otlp ?? '', signingKey: signerFromPem(signingKey).keyId, clientCa: clientCa ?? '' })
    return [
      await this.#publicKeys(namespace, signingKey),
      proxyServiceAccount(namespace, owners, proxy.serviceAccountAnnotations),
      proxyRole(namespace, owners, names),
      proxyRoleBinding(namespace, owners),
      caConfigMap(namespace, owners, authority.certificate),
      ...good.map(({ access, config }) => accessSecret(access, config)),
      settingsSecret(namespace, owners, { file, serving, signingKey, clientCa, authority: authority.certificate }),
      ...accesses.map((access) => accessService(access, ports.get(access.metadata.name)!)),
      headlessService(namespace, owners),
      ...accesses.flatMap((access) => isolationPolicy(access) ?? []),
      proxyNetworkPolicy(namespace, owners, [...ports.values()], settings.namespace),
      disruptionBudget(namespace, owners),
      proxyStatefulSet(namespace, owners, proxy, startup, replicas),
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
      await cluster.apply(object)
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

  /** Where agents live, the CA to know the proxies by is at hand, too. */
  async #agentsCa(): Promise<void> {
    const { cluster, watches, authority } = this.#options
    const all = watches.allAccesses()
    const own = new Set(all.map(({ metadata }) => metadata.namespace))
    const wanted = agentNamespaces(all).filter((namespace) => !own.has(namespace))
    for (const namespace of wanted) {
      try {
        await cluster.apply(agentsCaConfigMap(namespace, authority.certificate))
      } catch (error) {
        if (!isElsewhere(error)) throw error
      }
    }
    for (const map of await this.#everywhere<V1ConfigMap>('v1', 'ConfigMap', FOR_AGENTS))
      if (!wanted.includes(map.metadata!.namespace!)) await cluster.delete(map)
  }

  /** In all namespaces that the operator looks at. */
  async #everywhere<T extends KubernetesObject>(apiVersion: string, kind: string, labels: Record<string, string>): Promise<T[]> {
    const { cluster, settings } = this.#options
    const { watchNamespaces } = settings
    const lists = (watchNamespaces.length > 0 ? watchNamespaces : [undefined]).map((namespace) => cluster.list<T>(apiVersion, kind, namespace, labels))
    return (await Promise.all(lists)).flat()
  }

  async #podReaders(namespace: string, wanted: readonly string[]): Promise<void> {
    const { cluster } = this.#options
    for (const agents of wanted) {
      try {
        await cluster.apply(podReaderBinding(agents, namespace))
      } catch (error) {
        if (!isElsewhere(error)) throw error
      }
    }
    for (const binding of await this.#everywhere<V1RoleBinding>('rbac.authorization.k8s.io/v1', 'RoleBinding', { [POD_READER_OF]: namespace }))
      if (!wanted.includes(binding.metadata!.namespace!)) await cluster.delete(binding)
  }
}

const PUBLIC_KEYS_OF = 'agentaccess.dev/public-keys-of'

/** A namespace that an access names need not be there, nor be one that the operator looks at. */
const isElsewhere = (error: unknown) => isStatus(error, 404) || isStatus(error, 403)
