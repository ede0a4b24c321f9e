// The few calls that a proxy makes to the API server, with `fetch`: the client library would cost every proxy 90 MB.
import { readFileSync } from 'node:fs'

const MOUNTED = '/var/run/secrets/kubernetes.io/serviceaccount'
/** A projected token is renewed long before it ends; it is read again after this. */
const TOKEN_MS = 60_000
const REQUEST_MS = 10_000

/** The API server's own answer, where that is a failure. */
export class KubeApiError extends Error {
  override readonly name = 'KubeApiError'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface KubeApi {
  /** A JSON answer. @throws KubeApiError, or what `fetch` throws */
  json(method: 'GET' | 'POST', path: string, body?: unknown): Promise<unknown>
  /** An answer that goes on until `signal`, as JSON lines. */
  lines(path: string, signal: AbortSignal): AsyncIterable<unknown>
}

/**
 * As a pod reaches it: address from the environment, credentials from the mounted volume. The API server's CA must be in
 * NODE_EXTRA_CA_CERTS, since `fetch` takes no other.
 */
export function inClusterApi(environment: NodeJS.ProcessEnv = process.env): KubeApi {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment
  if (!host || !port) throw new Error('KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: this runs in a pod')
  let token = { value: '', readAt: 0 }
  const bearer = () => {
    const now = Date.now()
    if (now - token.readAt > TOKEN_MS) token = { value: readFileSync(`${MOUNTED}/token`, 'utf8').trim(), readAt: now }
    return token.value
  }
  return kubeApi(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, bearer)
}

/** The namespace that the pod is in. */
export const ownNamespace = (): string => readFileSync(`${MOUNTED}/namespace`, 'utf8').trim()

function kubeApi(server: string, bearer: () => string): KubeApi {
  const call = async (method: string, path: string, body: unknown, signal: AbortSignal) => {
    const response = await fetch(server + path, {
      method,
      // The published keys are of a media type of their own.
      headers: {
        accept: 'application/json, application/jwk-set+json',
        authorization: `Bearer ${bearer()}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal,
    })
    if (response.ok) return response
    const text = await response.text()
    throw new KubeApiError(response.status, `${method} ${path.split('?')[0]}: ${statusMessage(text)} (HTTP ${response.status})`)
  }
  return {
    json: async (method, path, body) => (await call(method, path, body, AbortSignal.timeout(REQUEST_MS))).json(),
    async *lines(path, signal) {
      const response = await call('GET', path, undefined, signal)
      const decoder = new TextDecoder()
      let text = ''
      for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
        text += decoder.decode(chunk, { stream: true })
        const lines = text.split('\n')
        text = lines.pop()!
        for (const line of lines) if (line !== '') yield JSON.parse(line) as unknown
      }
    },
  }
}

/** `Status.message`, where the answer is one. */
function statusMessage(text: string): string {
  try {
    const status: unknown = JSON.parse(text)
    if (typeof status === 'object' && status !== null && 'message' in status && typeof status.message === 'string') return status.message
  } catch {
    // Not JSON: as it is.
  }
  return text.slice(0, 500)
}
