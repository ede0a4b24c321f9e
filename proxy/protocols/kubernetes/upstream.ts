// The way to the API server: connections that are kept, and the credentials that agents never see.
import { Agent, request as httpsRequest } from 'node:https'
import type { ClientRequest, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import type { KubernetesTarget } from '../../config.ts'
import type { Identity } from '../../identify/agents.ts'
import type { InjectedTokens } from '../../protocol.ts'

const CONNECT_MS = 10_000
const KEPT_CONNECTIONS = 64

/** Of one connection only (RFC 9110, 7.6.1), or of this one's framing. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
])
/** What says who somebody is: only the proxy says that. */
const isIdentity = (name: string): boolean =>
  name === 'authorization' ||
  name === 'cookie' ||
  name === 'audit-id' ||
  name.startsWith('impersonate-') ||
  name.startsWith('x-remote-') ||
  name.startsWith('x-forwarded-')

/** What the API server is told of whom a request is for. */
export interface OnBehalf {
  identity: Identity
  session: string
  task: string
}

/** Node's own name of a connection is made of certificates and keys, for each request anew; here all go to one place. */
class AgentOfOneTarget extends Agent {
  override getName(): string {
    return 'target'
  }
}

export class Upstream {
  readonly #target: KubernetesTarget
  readonly #tokens: InjectedTokens | undefined
  readonly #agent: Agent

  constructor(target: KubernetesTarget, tokens: InjectedTokens | undefined) {
    this.#target = target
    this.#tokens = tokens
    const { ca, credentials, serverName } = target
    this.#agent = new AgentOfOneTarget({
      keepAlive: true,
      maxFreeSockets: KEPT_CONNECTIONS,
      ALPNProtocols: ['http/1.1'],
      ...(ca === undefined ? {} : { ca }),
      ...(serverName === undefined ? {} : { servername: serverName }),
      ...(credentials.kind === 'certificate' ? { cert: credentials.certificate, key: credentials.privateKey } : {}),
    })
  }

  /** Idle connections go; those in use end with what uses them. */
  close(): void {
    this.#agent.destroy()
  }

  /** Headers for the API server, made of an agent's. @throws where a token for the ServiceAccount can't be had */
  async headers(from: IncomingHttpHeaders, auditId: string, onBehalf: OnBehalf | undefined): Promise<OutgoingHttpHeaders> {
    const { credentials, host, port, impersonate } = this.#target
    const ofConnection = new Set((from.connection ?? '').split(',').map((name) => name.trim().toLowerCase()))
    const headers: OutgoingHttpHeaders = {}
    for (const [name, value] of Object.entries(from))
      if (!HOP_BY_HOP.has(name) && !ofConnection.has(name) && !isIdentity(name) && name !== 'host' && name !== 'content-length') headers[name] = value
    headers.host = `${host.includes(':') ? `[${host}]` : host}:${port}`
    headers['audit-id'] = auditId
    if (credentials.kind === 'token') headers.authorization = `Bearer ${credentials.token}`
    if (credentials.kind === 'serviceAccount') {
      if (!this.#tokens) throw new Error('there is no cluster to ask for the token of a ServiceAccount')
      headers.authorization = `Bearer ${await this.#tokens.tokenOf(credentials)}`
    }
    if (impersonate && onBehalf) Object.assign(headers, impersonation(onBehalf))
    return headers
  }

  /** Begins a request; `path` with its query. */
  request(method: string, path: string, headers: OutgoingHttpHeaders): ClientRequest {
    const { host, port, path: prefix } = this.#target
    const request = httpsRequest({ agent: this.#agent, host, port, method, path: prefix + path, headers })
    request.setNoDelay(true)
    request.once('socket', (socket) => {
      if (!socket.connecting) return
      const timer = setTimeout(() => request.destroy(new Error(`no connection to ${host}:${port} within ${CONNECT_MS / 1000} s`)), CONNECT_MS)
      for (const over of ['secureConnect', 'close']) socket.once(over, () => clearTimeout(timer))
    })
    return request
  }
}

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation */
function impersonation({ identity, session, task }: OnBehalf): OutgoingHttpHeaders {
  const serviceAccount = identity.attributes?.['agentaccess.agent.service_account']?.split('/')
  const headers: OutgoingHttpHeaders = {
    'impersonate-user': serviceAccount ? `system:serviceaccount:${serviceAccount.join(':')}` : `agent:${identity.agent}`,
    // Names of extra fields are percent-encoded, and small.
    'impersonate-extra-agentaccess.dev%2fsession': session,
  }
  if (task !== '') headers['impersonate-extra-agentaccess.dev%2ftask'] = encodeURIComponent(task)
  return headers
}

/** Headers for the agent, made of the API server's, as they stood: raw names and values. */
export function responseHeaders(raw: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  const ofConnection = new Set<string>()
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const [name, value] = [raw[i]!, raw[i + 1]!]
    if (name.toLowerCase() === 'connection') for (const named of value.split(',')) ofConnection.add(named.trim().toLowerCase())
    pairs.push([name, value])
  }
  return pairs.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !ofConnection.has(name.toLowerCase()))
}
