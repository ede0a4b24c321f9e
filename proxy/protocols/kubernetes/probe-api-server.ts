// Whether requests would be answered: the API server is reached, verified, and asked who it takes the proxy for.
import type { KubernetesTarget } from '../../config.ts'
import type { InjectedTokens, TargetProblem } from '../../protocol.ts'
import { ResponseReader } from './response-reader.ts'
import { Upstream } from './upstream.ts'

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review: everyone may. */
const WHO_AM_I = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const QUESTION = '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'

export async function probeApiServer(target: KubernetesTarget, tokens?: InjectedTokens): Promise<TargetProblem | undefined> {
  const upstream = new Upstream(target, tokens)
  try {
    const headers = await upstream.headers({ 'content-type': 'application/json' }, '', undefined)
    delete headers['audit-id']
    const { code, message } = await new Promise<{ code: number; message: string }>((resolve, reject) => {
      const request = upstream.request('POST', WHO_AM_I, { ...headers, 'content-length': QUESTION.length })
      request.once('error', reject)
      request.once('response', (response) => {
        const status = response.statusCode ?? 0
        const reader = new ResponseReader(status, response.headers['content-type'] ?? '', false)
        response.on('data', (chunk: Buffer) => reader.add(chunk)).once('error', reject)
        response.once('end', () => resolve({ code: status, message: reader.said().message ?? response.statusMessage ?? '' }))
      })
      request.end(QUESTION)
    })
    if (code === 401) return { reason: 'CredentialsRefused', message: `${target.host}:${target.port} refuses the credentials: ${message}` }
    return code < 300 ? undefined : { reason: 'Refused', message: `${target.host}:${target.port} answers ${code}: ${message}` }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (/CERT|SIGNATURE|ISSUER|TLS|SSL|ALTNAME/i.test(code)) return { reason: 'TLSFailed', message: `TLS with ${target.host}:${target.port} failed: ${why}` }
    return { reason: 'Unreachable', message: why }
  } finally {
    upstream.close()
  }
}
