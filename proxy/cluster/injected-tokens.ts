// Tokens of the ServiceAccounts that accesses inject, by TokenRequest: short-lived, and renewed in time.
// https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
import type { InjectedTokens } from '../protocol.ts'
import type { KubeApi } from './kube-api.ts'

const LIFETIME_SECONDS = 3600
/** Renewed with this part of its life left: enough for what has been sent with it, and for an API server that is away for a while. */
const RENEW_AT = 0.5
/** Where renewing fails, one that still holds is used up to this long before its end. */
const LAST_MS = 30_000

interface Kept {
  token: string
  renewAt: number
  expires: number
}

export function injectedTokens(api: KubeApi, now: () => number = Date.now): InjectedTokens {
  const kept = new Map<string, Kept>()
  const asking = new Map<string, Promise<Kept>>()
  const ask = async (namespace: string, name: string): Promise<Kept> => {
    const asked = now()
    const answer = (await api.json('POST', `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: { expirationSeconds: LIFETIME_SECONDS },
    })) as { status: { token: string; expirationTimestamp: string } }
    // The cluster may have given less, or more.
    const expires = Date.parse(answer.status.expirationTimestamp)
    return { token: answer.status.token, expires, renewAt: asked + (expires - asked) * RENEW_AT }
  }
  return {
    async tokenOf({ namespace, name }) {
      const key = `${namespace}/${name}`
      const known = kept.get(key)
      if (known && now() < known.renewAt) return known.token
      const request = asking.get(key) ?? ask(namespace, name).finally(() => asking.delete(key))
      asking.set(key, request)
      try {
        const fresh = await request
        kept.set(key, fresh)
        return fresh.token
      } catch (error) {
        if (known && now() < known.expires - LAST_MS) return known.token
        throw new Error(`no token of ServiceAccount ${key} can be had: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      }
    },
  }
}
