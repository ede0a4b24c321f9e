// One Secret, as it is now, and whenever it changes. By its name: a proxy may read no others.
import { setTimeout as sleep } from 'node:timers/promises'
import { KubeApiError, type KubeApi } from './kube-api.ts'

/** Keys of the Secret; undefined where there is none. */
export type SecretData = ReadonlyMap<string, Buffer> | undefined

const WATCH_SECONDS = 300
const FIRST_BACKOFF_MS = 250
const LAST_BACKOFF_MS = 15_000

export interface WatchedSecret {
  /** Resolves when it has been read once. */
  readonly ready: Promise<void>
  stop(): void
}

/** `changed` is called with what is there, first and after every change; `failing` where it can't be read, again and again. */
export function watchSecret(
  api: KubeApi,
  { namespace, name }: { namespace: string; name: string },
  changed: (data: SecretData) => void,
  failing: (message: string) => void,
): WatchedSecret {
  const path = `/api/v1/namespaces/${namespace}/secrets?fieldSelector=${encodeURIComponent(`metadata.name=${name}`)}`
  const stopping = new AbortController()
  const { promise: ready, resolve } = Promise.withResolvers<void>()
  void (async () => {
    let backoff = FIRST_BACKOFF_MS
    while (!stopping.signal.aborted) {
      try {
        const list = (await api.json('GET', path)) as SecretList
        changed(dataOf(list.items[0]))
        resolve()
        await follow(api, `${path}&watch=1&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${list.metadata.resourceVersion}`, stopping.signal, (data) => {
          backoff = FIRST_BACKOFF_MS
          changed(data)
        })
        // The server ends a watch now and then.
        backoff = FIRST_BACKOFF_MS
      } catch (error) {
        if (stopping.signal.aborted) return
        if (!(error instanceof WatchExpired)) failing(`Secret ${namespace}/${name} can't be watched: ${error instanceof Error ? error.message : String(error)}`)
        // Forbidden, right after it was granted, is a matter of moments.
        if (error instanceof KubeApiError && error.status === 403) backoff = Math.min(backoff, 1000)
        await sleep(backoff * (0.5 + Math.random()))
        backoff = Math.min(LAST_BACKOFF_MS, backoff * 2)
      }
    }
  })()
  return { ready, stop: () => stopping.abort() }
}

class WatchExpired extends Error {}

async function follow(api: KubeApi, path: string, signal: AbortSignal, changed: (data: SecretData) => void): Promise<void> {
  for await (const line of api.lines(path, signal)) {
    const { type, object } = line as { type: string; object: Secret }
    if (type === 'ERROR') throw new WatchExpired()
    if (type === 'ADDED' || type === 'MODIFIED') changed(dataOf(object))
    if (type === 'DELETED') changed(undefined)
  }
}

interface Secret {
  data?: Record<string, string>
}

interface SecretList {
  metadata: { resourceVersion: string }
  items: Secret[]
}

const dataOf = (secret: Secret | undefined): SecretData =>
  secret && new Map(Object.entries(secret.data ?? {}).map(([key, value]) => [key, Buffer.from(value, 'base64')]))
