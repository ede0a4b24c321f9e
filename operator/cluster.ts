// The API server, as the operator uses it.
import {
  ApiException,
  CustomObjectsApi,
  KubeConfig,
  KubernetesObjectApi,
  PatchStrategy,
  setHeaderOptions,
  type KubernetesListObject,
  type KubernetesObject,
} from '@kubernetes/client-node'
import { MANAGER, type StoredAccess } from './desired/names.ts'

const RESOURCE = { group: 'agentaccess.dev', version: 'v1alpha1', plural: 'agentaccesses' }

export const isStatus = (error: unknown, code: number): boolean => error instanceof ApiException && error.code === code

/** What the API server said, for people. */
export function explain(error: unknown): string {
  if (error instanceof ApiException) {
    const body: unknown = typeof error.body === 'string' ? parsed(error.body) : error.body
    if (typeof body === 'object' && body !== null && 'message' in body) return `${String(body.message)} (HTTP ${error.code})`
  }
  return error instanceof Error ? error.message : String(error)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export class Cluster {
  readonly config: KubeConfig
  readonly #objects: KubernetesObjectApi
  readonly #custom: CustomObjectsApi

  constructor(config: KubeConfig) {
    this.config = config
    this.#objects = KubernetesObjectApi.makeApiClient(config)
    this.#custom = config.makeApiClient(CustomObjectsApi)
  }

  /** Server-side apply: what is given is so afterwards, whoever changed it; what is not given stays others'. */
  async apply<T extends KubernetesObject>(object: T): Promise<T> {
    return this.#objects.patch(object, undefined, undefined, MANAGER, true, PatchStrategy.ServerSideApply)
  }

  /** Undefined where there is none. */
  async read<T extends KubernetesObject>(apiVersion: string, kind: string, name: string, namespace?: string): Promise<T | undefined> {
    try {
      return await this.#objects.read<T>({ apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) } })
    } catch (error) {
      if (isStatus(error, 404)) return undefined
      throw error
    }
  }

  async list<T extends KubernetesObject>(apiVersion: string, kind: string, namespace: string | undefined, labels: Record<string, string>): Promise<T[]> {
    const selector = Object.entries(labels).map(([name, value]) => `${name}=${value}`)
    const { items } = await this.listPage<T>(apiVersion, kind, namespace, selector.join(','))
    // What a list holds does not say itself what it is.
    return items.map((item) => Object.assign(item, { apiVersion, kind }))
  }

  listPage<T extends KubernetesObject>(apiVersion: string, kind: string, namespace: string | undefined, selector: string): Promise<KubernetesListObject<T>> {
    return this.#objects.list<T>(apiVersion, kind, namespace, undefined, undefined, undefined, undefined, selector)
  }

  /** Deletes it, where it is there. `orphan`: what it owns stays. */
  async delete({ apiVersion, kind, metadata }: KubernetesObject, orphan = false): Promise<void> {
    try {
      await this.#objects.delete(
        { apiVersion: apiVersion!, kind: kind!, metadata: metadata! },
        undefined,
        undefined,
        undefined,
        undefined,
        orphan ? 'Orphan' : 'Background',
      )
    } catch (error) {
      if (!isStatus(error, 404)) throw error
    }
  }

  /** Replaces what is given of the status. */
  async patchStatus({ metadata: { name, namespace } }: StoredAccess, status: object): Promise<void> {
    const headers = setHeaderOptions('Content-Type', PatchStrategy.MergePatch)
    await this.#custom.patchNamespacedCustomObjectStatus({ ...RESOURCE, namespace, name, body: { status }, fieldManager: MANAGER }, headers)
  }

  /** Replaces the finalizers; a conflict where they have changed meanwhile. */
  async patchFinalizers({ metadata }: StoredAccess, finalizers: string[]): Promise<void> {
    const { name, namespace, resourceVersion } = metadata
    const headers = setHeaderOptions('Content-Type', PatchStrategy.MergePatch)
    await this.#custom.patchNamespacedCustomObject(
      { ...RESOURCE, namespace, name, body: { metadata: { finalizers, resourceVersion } }, fieldManager: MANAGER },
      headers,
    )
  }
}
