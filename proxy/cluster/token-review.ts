// A ServiceAccount's token, by TokenReview: the API server says whose it is, and whether it is meant for this namespace's
// proxies and no others.
import { createHash } from 'node:crypto'
import type { Refusal, ReviewedToken } from '../identify/attestation.ts'
import { issuerVerifier } from './issuer-keys.ts'
import { KubeApiError, type KubeApi } from './kube-api.ts'

const CACHE_MS = 60_000
const CACHED = 1000
const SERVICE_ACCOUNT = /^system:serviceaccount:([^:]+):([^:]+)$/
const POD_NAME = 'authentication.kubernetes.io/pod-name'

interface TokenReview {
  status?: { authenticated?: boolean; error?: string; audiences?: string[]; user?: { username?: string; extra?: Record<string, string[]> } }
}

/** A token for one namespace is worth nothing at another's proxy. */
export const audienceOf = (namespace: string): string => `agentaccess.dev/${namespace}`

/** The answer for a good token is kept for at most a minute, by the token's hash; a refusal is not. */
export function tokenReviewer(api: KubeApi, audience: string, now: () => number = Date.now): (token: string) => Promise<ReviewedToken | Refusal> {
  const byIssuer = issuerVerifier(api, audience, now)
  const cache = new Map<string, { review: ReviewedToken; until: number }>()
  return async (token) => {
    const key = createHash('sha256').update(token).digest('base64')
    const cached = cache.get(key)
    if (cached && now() < cached.until) return cached.review
    cache.delete(key)
    const reviewed = await review(api, audience, token, byIssuer)
    if ('refusal' in reviewed) return reviewed
    if (reviewed.expires <= now()) return { refusal: 'the token has expired' }
    if (cache.size >= CACHED) cache.clear()
    cache.set(key, { review: reviewed, until: Math.min(now() + CACHE_MS, reviewed.expires) })
    return reviewed
  }
}

async function review(
  api: KubeApi,
  audience: string,
  token: string,
  byIssuer: (token: string) => Promise<ReviewedToken | Refusal>,
): Promise<ReviewedToken | Refusal> {
  const expires = expiryOf(token)
  if (expires === undefined) return { refusal: 'the token is no ServiceAccount token' }
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences: [audience] } }
  let status: TokenReview['status']
  try {
    ;({ status } = (await api.json('POST', '/apis/authentication.k8s.io/v1/tokenreviews', body)) as TokenReview)
  } catch (error) {
    if (error instanceof KubeApiError && error.status === 403) return byIssuer(token)
    return { refusal: `the token could not be reviewed: ${error instanceof Error ? error.message : String(error)}` }
  }
  if (status?.authenticated !== true)
    return { refusal: `the API server does not accept the token for audience ${audience}${status?.error ? `: ${status.error}` : ''}` }
  // A server that knows nothing of audiences answers without them.
  if (!status.audiences?.includes(audience)) return { refusal: `the token is not for audience ${audience}` }
  const [, namespace, name] = SERVICE_ACCOUNT.exec(status.user?.username ?? '') ?? []
  if (!namespace || !name) return { refusal: `the token is that of ${status.user?.username ?? 'nobody'}, which is no ServiceAccount` }
  return { serviceAccount: { namespace, name }, expires, pod: status.user?.extra?.[POD_NAME]?.[0], by: 'TokenReview' }
}

/** `exp` of a JWT, in milliseconds; its signature is the API server's to check. Undefined where it is none. */
function expiryOf(token: string): number | undefined {
  const payload = token.split('.')
  if (payload.length !== 3) return undefined
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload[1]!, 'base64url').toString('utf8'))
    const exp = typeof claims === 'object' && claims !== null && 'exp' in claims ? claims.exp : undefined
    // A legacy token never ends: it is not taken.
    return typeof exp === 'number' ? exp * 1000 : undefined
  } catch {
    return undefined
  }
}
