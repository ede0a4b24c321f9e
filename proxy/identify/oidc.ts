// A token of an OpenID Connect issuer: signature by the issuer's published keys, audience, subject. OpenID Connect Core 1.0,
// 3.1.3.7 "ID Token Validation"; Discovery 1.0, 4 "Obtaining OpenID Provider Configuration Information".
import { createRemoteJWKSet, decodeJwt, errors, jwtVerify } from 'jose'
import type { OidcIdentity } from '../config.ts'
import type { Refusal } from './attestation.ts'

const TIMEOUT_MS = 5000
/** Keys are fetched again after this, and at once for a key that is not known, but not more often than twice a minute. */
const KEYS_MS = 600_000
const COOLDOWN_MS = 30_000
/** Clocks differ. */
const TOLERANCE_SECONDS = 30
/** Not `none`, and nothing with a shared secret. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']

type Keys = ReturnType<typeof createRemoteJWKSet>

const issuers = new Map<string, Promise<Keys>>()

/** What the issuer says of where its keys are; asked once, and again where it could not be asked. */
function keysOf(issuer: string): Promise<Keys> {
  let keys = issuers.get(issuer)
  if (!keys) {
    keys = discover(issuer)
    issuers.set(issuer, keys)
    keys.catch(() => issuers.delete(issuer))
  }
  return keys
}

async function discover(issuer: string): Promise<Keys> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'error' })
  if (!response.ok) throw new Error(`${url} answers HTTP ${response.status}`)
  const found = (await response.json()) as { issuer?: unknown; jwks_uri?: unknown }
  if (found.issuer !== issuer) throw new Error(`${url} speaks of issuer ${JSON.stringify(found.issuer)}`)
  if (typeof found.jwks_uri !== 'string') throw new Error(`${url} has no jwks_uri`)
  return createRemoteJWKSet(new URL(found.jwks_uri), { timeoutDuration: TIMEOUT_MS, cacheMaxAge: KEYS_MS, cooldownDuration: COOLDOWN_MS })
}

/** The issuer that a token says it is of; not verified. Undefined where it is no JWT. */
export function claimedIssuer(token: string): string | undefined {
  try {
    return decodeJwt(token).iss
  } catch {
    return undefined
  }
}

/** Whether the token is of this issuer, for this audience, and of a subject that matches. */
export async function verifyOidc(token: string, { issuer, audience, subject }: OidcIdentity): Promise<{ subject: string; expires: number } | Refusal> {
  let keys: Keys
  try {
    keys = await keysOf(issuer)
  } catch (error) {
    return { refusal: `the issuer ${issuer} can't be asked for its keys: ${explain(error)}` }
  }
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience,
      algorithms: ALGORITHMS,
      clockTolerance: TOLERANCE_SECONDS,
      requiredClaims: ['exp', 'sub'],
    })
    const { sub, exp } = payload as { sub: string; exp: number }
    if (!matches(subject, sub)) return { refusal: `the token's subject ${JSON.stringify(sub)} is not that of an agent of this access` }
    return { subject: sub, expires: exp * 1000 }
  } catch (error) {
    const known = error instanceof errors.JOSEError && !(error instanceof errors.JWKSTimeout)
    return { refusal: known ? `the token is not accepted: ${error.message}` : `the keys of issuer ${issuer} can't be had: ${explain(error)}` }
  }
}

/** `*` stands for any text; all else is itself. */
function matches(pattern: string, subject: string): boolean {
  const parts = pattern.split('*')
  if (parts.length === 1) return pattern === subject
  const [first, last] = [parts[0]!, parts.at(-1)!]
  if (!subject.startsWith(first) || !subject.endsWith(last) || subject.length < first.length + last.length) return false
  let at = first.length
  for (const part of parts.slice(1, -1)) {
    const found = subject.indexOf(part, at)
    if (found === -1) return false
    at = found + part.length
  }
  return at <= subject.length - last.length
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}
