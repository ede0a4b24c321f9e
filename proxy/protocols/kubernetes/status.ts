// metav1.Status: how an API server says that it will not, which clients print.
// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/

export interface Refusal {
  code: 400 | 401 | 403 | 405 | 413 | 415 | 431 | 501 | 502 | 503
  /** As in the API's own: what clients tell apart. */
  reason:
    | 'BadRequest'
    | 'Unauthorized'
    | 'Forbidden'
    | 'MethodNotAllowed'
    | 'RequestEntityTooLarge'
    | 'UnsupportedMediaType'
    | 'NotImplemented'
    | 'BadGateway'
    | 'ServiceUnavailable'
  message: string
  /** Of what it is about. */
  details?: { name?: string; group?: string; kind?: string }
}

export function statusBody({ code, reason, message, details }: Refusal): Buffer {
  const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, ...(details ? { details } : {}), code }
  return Buffer.from(`${JSON.stringify(status)}\n`)
}

/** A request that ends before it is a command of a session. */
export class Refused extends Error {
  readonly refusal: Refusal
  /** Why, for the record: what the agent is told may be less. */
  readonly detail: string | undefined

  constructor(refusal: Refusal, detail?: string) {
    super(refusal.message)
    this.refusal = refusal
    this.detail = detail
  }
}
