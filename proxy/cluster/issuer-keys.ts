// A ServiceAccount's token where TokenReview is forbidden: by the cluster's published keys. What is lost: a token whose pod,
// ServiceAccount or Secret has been deleted is good until it expires.
// https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery
import { createLocalJWKSet, errors, jwtVerify, type JSONWebKeySet } from 'jose'
import type { Refusal, ReviewedToken } from '../identify/attestation.ts'
import type { KubeApi } from './kube-api.ts'

const KEYS_MS = 600_000
/** For a key that is not known: not more often, whoever asks. */
const COOLDOWN_MS = 30_000
const SUBJECT = /^system:serviceaccount:([^:]+):([^:]+)$/

interface Known {
  issuer: string
  keys: ReturnType<typeof createLocalJWKSet>
  at: number
}

interface Claims {
  sub?: string
  exp: number
  'kubernetes.io'?: { pod?: { name?: string } }
}

export function issuerVerifier(api: KubeApi, audience: string, now: () => number = Date.now): (token: string) => Promise<ReviewedToken | Refusal> {
  let known: Known | undefined
  const current = async (maxAgeMs: number): Promise<Known> => {
    if (known && now() - known.at < maxAgeMs) return known
    const { issuer } = (await api.json('GET', '/.well-known/openid-configuration')) as { issuer: string }
    const keys = createLocalJWKSet((await api.json('GET', '/openid/v1/jwks')) as JSONWebKeySet)
    known = { issuer, keys, at: now() }
    return known
  }
  const verify = async (token: string, { issuer, keys }: Known): Promise<ReviewedToken | Refusal> => {
    const { payload } = await jwtVerify<Claims>(token, keys, { issuer, audience, requiredClaims: ['exp', 'sub'] })
    const [, namespace, name] = SUBJECT.exec(payload.sub ?? '') ?? []
    if (!namespace || !name) return { refusal: `the token is that of ${payload.sub ?? 'nobody'}, which is no ServiceAccount` }
    return { serviceAccount: { namespace, name }, expires: payload.exp * 1000, pod: payload['kubernetes.io']?.pod?.name, by: 'issuer keys' }
  }
  return async (token) => {
    try {
      try {
        return await verify(token, await current(KEYS_MS))
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        return await verify(token, await current(COOLDOWN_MS))
      }
    } catch (error) {
      const said = error instanceof Error ? error.message : String(error)
      return { refusal: error instanceof errors.JOSEError ? `the token is not accepted: ${said}` : `the cluster's keys can't be had: ${said}` }
    }
  }
}
