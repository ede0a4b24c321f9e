// What the operator looks at: every AgentAccess, the Secrets where they are, and what it owns. Each change names a namespace
// to work on.
import { makeInformer, type KubernetesObject, type V1Pod, type V1Secret } from '@kubernetes/client-node'
import type { Cluster } from './cluster.ts'
import type { SecretLookup } from './compile/index.ts'
import { OWNED, PROXY_PODS, type StoredAccess } from './desired/names.ts'

type InformerOf<T extends KubernetesObject> = ReturnType<typeof makeInformer<T>>

/** A watch has it as text, a list as a date. */
const createdAt = ({ metadata }: StoredAccess) => new Date(metadata.creationTimestamp).getTime()

const RETRY_MS = 2000
/** What is made for a namespace; a change of it by somebody else is mended. */
const OWNED_KINDS: readonly [path: string, apiVersion: string, kind: string][] = [
  ['/apis/apps/v1', 'apps/v1', 'StatefulSet'],
  ['/api/v1', 'v1', 'Service'],
  ['/api/v1', 'v1', 'ConfigMap'],
  ['/api/v1', 'v1', 'ServiceAccount'],
  ['/apis/rbac.authorization.k8s.io/v1', 'rbac.authorization.k8s.io/v1', 'Role'],
  ['/apis/rbac.authorization.k8s.io/v1', 'rbac.authorization.k8s.io/v1', 'RoleBinding'],
  ['/apis/networking.k8s.io/v1', 'networking.k8s.io/v1', 'NetworkPolicy'],
  ['/apis/policy/v1', 'policy/v1', 'PodDisruptionBudget'],
]

/** REST paths have plurals. */
const plural = (kind: string) => (kind.endsWith('y') ? `${kind.slice(0, -1).toLowerCase()}ies` : `${kind.toLowerCase()}s`)

export interface WatchOptions {
  cluster: Cluster
  /** Empty: all. */
  namespaces: readonly string[]
  changed: (namespace: string) => void
  failed: (what: string, error: unknown) => void
}

export class Watches {
  readonly #options: WatchOptions
  readonly #accesses: InformerOf<StoredAccess>[] = []
  readonly #secrets = new Map<string, InformerOf<V1Secret>>()
  readonly #owned: InformerOf<KubernetesObject>[] = []
  readonly #pods: InformerOf<V1Pod>[] = []
  #stopped = false

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /** Resolves when all accesses are known. */
  async start(): Promise<void> {
    const { namespaces } = this.#options
    for (const namespace of namespaces.length > 0 ? namespaces : [undefined]) {
      this.#accesses.push(await this.#informer<StoredAccess>('/apis/agentaccess.dev/v1alpha1', 'agentaccess.dev/v1alpha1', 'AgentAccess', namespace, {}))
      this.#pods.push(await this.#informer<V1Pod>('/api/v1', 'v1', 'Pod', namespace, { ...OWNED, ...PROXY_PODS }))
      for (const [path, apiVersion, kind] of OWNED_KINDS) this.#owned.push(await this.#informer(path, apiVersion, kind, namespace, OWNED))
    }
  }

  /** Every access of a namespace, the oldest first. */
  accesses(namespace: string): StoredAccess[] {
    return this.#accesses
      .flatMap((informer) => informer.list(namespace))
      .map((access) => Object.assign(access, { apiVersion: 'agentaccess.dev/v1alpha1', kind: 'AgentAccess' }))
      .sort((a, b) => createdAt(a) - createdAt(b) || a.metadata.name.localeCompare(b.metadata.name))
  }

  /** Every access, of all namespaces. */
  allAccesses(): StoredAccess[] {
    return this.namespaces().flatMap((namespace) => this.accesses(namespace))
  }

  namespaces(): string[] {
    return [...new Set(this.#accesses.flatMap((informer) => informer.list().map(({ metadata }) => metadata.namespace)))].sort()
  }

  /** The Secrets of a namespace with accesses; watched from the first time on that they are asked for. */
  async secrets(namespace: string): Promise<SecretLookup> {
    let informer = this.#secrets.get(namespace)
    if (!informer) {
      informer = await this.#informer<V1Secret>('/api/v1', 'v1', 'Secret', namespace, {})
      this.#secrets.set(namespace, informer)
    }
    const found = informer
    return (name) => {
      const data = found.get(name, namespace)?.data
      return data && { get: (key) => (data[key] === undefined ? undefined : Buffer.from(data[key], 'base64')) }
    }
  }

  /** The proxies of a namespace. */
  pods(namespace: string): readonly V1Pod[] {
    return this.#pods.flatMap((informer) => informer.list(namespace))
  }

  /** The last access of the namespace is gone. */
  async forget(namespace: string): Promise<void> {
    await this.#secrets.get(namespace)?.stop()
    this.#secrets.delete(namespace)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#accesses, ...this.#owned, ...this.#pods, ...this.#secrets.values()].map((informer) => informer.stop()))
  }

  async #informer<T extends KubernetesObject>(path: string, apiVersion: string, kind: string, namespace: string | undefined, labels: Record<string, string>) {
    const { cluster, changed, failed } = this.#options
    const selector = Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(',')
    const list = () => cluster.listPage<T>(apiVersion, kind, namespace, selector)
    const where = namespace === undefined ? '' : `/namespaces/${namespace}`
    const resource = kind === 'AgentAccess' ? 'agentaccesses' : plural(kind)
    const informer = makeInformer<T>(cluster.config, `${path}${where}/${resource}`, list, selector === '' ? undefined : selector)
    const tell = (object: T) => changed(object.metadata!.namespace!)
    informer.on('add', tell)
    informer.on('update', tell)
    informer.on('delete', tell)
    informer.on('error', (error) => {
      if (this.#stopped) return
      failed(`watching ${resource}`, error)
      setTimeout(() => void this.#restart(informer, resource), RETRY_MS)
    })
    await informer.start()
    return informer
  }

  async #restart<T extends KubernetesObject>(informer: InformerOf<T>, resource: string): Promise<void> {
    if (this.#stopped) return
    try {
      await informer.start()
    } catch (error) {
      this.#options.failed(`watching ${resource}`, error)
      setTimeout(() => void this.#restart(informer, resource), RETRY_MS)
    }
  }
}
