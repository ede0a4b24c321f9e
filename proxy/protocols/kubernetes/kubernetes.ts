// The Kubernetes protocol: HTTP/1.1 to an API server, whose requests are commands of a session that outlasts connections.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { Activity } from '../../activity.ts'
import { clientAddress } from '../../client-address.ts'
import { accessKey, targetOf, type KubernetesTarget, type TargetConfig } from '../../config.ts'
import type { Identity } from '../../identify/agents.ts'
import type { Access, InjectedTokens, Protocol, TargetProblem } from '../../protocol.ts'
import type { Session } from '../../session.ts'
import { validTraceparent } from '../../traceparent.ts'
import { apiPath } from './api-path.ts'
import { cannotRecord, exchange, refusalOf, refuse, type ExchangeOptions } from './exchange.ts'
import { identifyAgent } from './identify.ts'
import { probeApiServer } from './probe-api-server.ts'
import { isKnownMethod, requestInfo } from './request-info.ts'
import { Refused, statusBody } from './status.ts'
import { stream } from './stream.ts'
import { Upstream } from './upstream.ts'

const TLS_HANDSHAKE = 0x16
/** For the TLS handshake and the first request. */
const HANDSHAKE_MS = 30_000
const MAX_HEADER_BYTES = 64 * 1024
/** Longer than clients keep idle connections: they close them, not we. */
const KEEP_ALIVE_MS = 150_000
const UPSTREAMS_KEPT = 64
const OF_CONNECTION: ReadonlySet<string> = new Set(['', 'close', 'keep-alive', 'upgrade', 'te', 'http2-settings'])

export class KubernetesProtocol implements Protocol {
  readonly kind = 'kubernetes'
  readonly defaultPort = 6443
  readonly #server: Server
  readonly #accesses = new WeakMap<Socket, Access>()
  /** What is called once a connection has said what it wants. */
  readonly #asked = new WeakMap<Socket, () => void>()
  readonly #upstreams = new Map<string, Upstream>()
  /** By what a target is, since one that is compiled anew is another object. */
  readonly #targetKeys = new WeakMap<KubernetesTarget, string>()

  constructor() {
    this.#server = createServer({
      maxHeaderSize: MAX_HEADER_BYTES,
      keepAliveTimeout: KEEP_ALIVE_MS,
      insecureHTTPParser: false,
    })
    this.#server.on('request', (request, response) => void this.#request(request, response))
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      response.writeContinue()
      void this.#request(request, response)
    })
    this.#server.on('upgrade', (request, socket, head) => void this.#upgrade(request, socket as Socket, head))
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.#malformed(error, socket as Socket))
  }

  async serve(plain: Socket, access: Access): Promise<void> {
    plain.on('error', () => {})
    plain.setNoDelay(true)
    plain.setKeepAlive(true, 30_000)
    const timer = setTimeout(() => plain.destroy(), HANDSHAKE_MS)
    try {
      const socket = await this.#secured(plain, access)
      if (!socket) return
      this.#accesses.set(socket, access)
      this.#asked.set(socket, () => clearTimeout(timer))
      this.#server.emit('connection', socket)
      socket.resume()
      await new Promise((resolve) => plain.once('close', resolve))
    } catch {
      plain.destroy()
    } finally {
      clearTimeout(timer)
    }
  }

  probe(target: TargetConfig, tokens?: InjectedTokens): Promise<TargetProblem | undefined> {
    return probeApiServer(targetOf(target, 'kubernetes'), tokens)
  }

  /** Plain HTTP is taken as well: whether a proof may come by it, is for the proof to say. Undefined where the client has gone. */
  async #secured(plain: Socket, access: Access): Promise<Socket | undefined> {
    const first = await new Promise<Buffer | null>((resolve) => {
      plain.once('readable', () => resolve(plain.read(1) as Buffer | null))
      plain.once('close', () => resolve(null))
    })
    if (!first) return undefined
    plain.unshift(first)
    if (first[0] !== TLS_HANDSHAKE || !access.tls) return plain
    // HTTP/2 would multiplex requests: it is not offered.
    const secured = new TLSSocket(plain, {
      isServer: true,
      secureContext: access.tls.context(),
      requestCert: access.tls.clientCertificates,
      rejectUnauthorized: false,
      ALPNProtocols: ['http/1.1'],
    })
    secured.on('error', () => plain.destroy())
    await new Promise<void>((resolve, reject) => {
      secured.once('secure', resolve)
      plain.once('close', () => reject(new Error('the TLS handshake was not finished')))
    })
    return secured
  }

  async #request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const access = this.#accesses.get(request.socket)!
    this.#asked.get(request.socket)?.()
    try {
      await exchange(request, response, await this.#begin(request, access))
    } catch (error) {
      this.#recordRefusal(request.socket, access, error)
      refuse(response, refusalOf(error))
    }
  }

  async #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const access = this.#accesses.get(socket)!
    this.#asked.get(socket)?.()
    socket.on('error', () => {})
    try {
      await stream(request, socket, head, await this.#begin(request, access))
    } catch (error) {
      this.#recordRefusal(socket, access, error)
      answer(socket, refusalOf(error))
    }
  }

  /** From a request to what it does in which session. @throws Refused */
  async #begin(request: IncomingMessage, access: Access): Promise<ExchangeOptions> {
    const { method = '', url = '', headers } = request
    const target = targetOf(access.config.target, 'kubernetes')
    if (!isKnownMethod(method)) throw new Refused({ code: 405, reason: 'MethodNotAllowed', message: `method ${method} is not one of the API server's` })
    if ((headers['content-encoding'] ?? 'identity') !== 'identity')
      throw new Refused({ code: 415, reason: 'UnsupportedMediaType', message: 'a compressed request is not let through: it could not be recorded as it is' })
    // What it names is not passed on: the API server must see what was judged.
    if ((headers.connection ?? '').split(',').some((name) => !OF_CONNECTION.has(name.trim().toLowerCase())))
      throw new Refused({ code: 400, reason: 'BadRequest', message: 'the Connection header names a header that would not be passed on' })
    const path = apiPath(url)
    if ('refused' in path) throw new Refused({ code: 400, reason: 'BadRequest', message: path.refused })
    if (access.config.suspended)
      throw new Refused({ code: 503, reason: 'ServiceUnavailable', message: `access ${accessKey(access.config)} is suspended: spec.suspended says so` })
    const identity = await identifyAgent(request, access)
    const session = await this.#session(request, access, target, identity, path.task)
    session.provenUntil(identity.expires)
    return {
      session,
      activity: Activity.of(session, target.sessionIdleMs),
      upstream: this.#upstream(target, access),
      asked: {
        method,
        path: path.path,
        query: path.query,
        info: requestInfo(method, path.path, path.query),
        userAgent: headers['user-agent'],
      },
      target: path.path + path.search,
      onBehalf: { identity, session: session.id, task: identity.task?.task ?? path.task ?? '' },
    }
  }

  /** The one of this agent, proof and task; a new one where it has ended. @throws Refused where it can't be recorded */
  async #session(request: IncomingMessage, access: Access, target: KubernetesTarget, identity: Identity, task: string | undefined): Promise<Session> {
    // What the record says at its beginning holds to its end: another target is another session.
    const { host, port, path, credentials, impersonate } = target
    const injected = [host, port, path, credentials.kind === 'serviceAccount' ? credentials.name : credentials.kind, impersonate]
    const key = JSON.stringify([identity.agent, identity.proof, identity.attributes, identity.task?.task ?? task, injected])
    const blocked = access.recorder.blocked(accessKey(access.config), access.config.recording.spoolQuota)
    const traceparent = validTraceparent(request.headers.traceparent)
    for (;;) {
      if (blocked !== undefined && !access.sessions.has(key)) throw cannotRecord(blocked)
      const session = await access.sessions
        .open(
          access,
          {
            identity,
            task: task === undefined ? undefined : { task, source: 'server URL' },
            client: { address: clientAddress(request.socket), port: request.socket.remotePort ?? 0 },
            target: { kind: 'kubernetes', host: target.host, port: target.port, database: '' },
            attributes: {
              ...(traceparent === undefined ? {} : { 'agentaccess.traceparent': traceparent }),
              'agentaccess.tls': request.socket instanceof TLSSocket ? (request.socket.getProtocol() ?? 'TLS') : 'none',
            },
          },
          key,
        )
        .catch((error: unknown) => {
          throw cannotRecord(error instanceof Error ? error.message : String(error))
        })
      if (!session.record.ended) return session
    }
  }

  /** Connections are shared by all that use the same target in the same way. */
  #upstream(target: KubernetesTarget, access: Access): Upstream {
    let key = this.#targetKeys.get(target)
    if (key === undefined) this.#targetKeys.set(target, (key = JSON.stringify(target)))
    let upstream = this.#upstreams.get(key)
    if (!upstream) {
      upstream = new Upstream(target, access.tokens)
      const [oldest] = this.#upstreams
      if (oldest && this.#upstreams.size >= UPSTREAMS_KEPT) {
        oldest[1].close()
        this.#upstreams.delete(oldest[0])
      }
      this.#upstreams.set(key, upstream)
    }
    return upstream
  }

  #recordRefusal(socket: Socket, access: Access, error: unknown): void {
    const { code, reason, message } = refusalOf(error)
    const detail = error instanceof Refused ? error.detail : undefined
    const address = clientAddress(socket)
    access.door.refused(address, {
      'client.address': address,
      'client.port': socket.remotePort ?? 0,
      'http.response.status_code': code,
      'error.type': reason,
      'agentaccess.error.message': message,
      ...(detail === undefined ? {} : { 'agentaccess.error.detail': detail }),
    })
  }

  /** What the strict parser does not take: it ends the connection, after an answer where one can be understood. */
  #malformed(error: NodeJS.ErrnoException, socket: Socket): void {
    const access = this.#accesses.get(socket)
    if (error.code === 'ECONNRESET' || !socket.writable || !access) {
      socket.destroy()
      return
    }
    const refused =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? new Refused({ code: 431, reason: 'BadRequest', message: `the headers are larger than ${MAX_HEADER_BYTES} bytes` })
        : new Refused({ code: 400, reason: 'BadRequest', message: `not a request of HTTP/1.1: ${error.message}` })
    this.#recordRefusal(socket, access, refused)
    answer(socket, refused.refusal)
  }
}

/** An answer where there is no ServerResponse to write it with. The connection ends. */
function answer(socket: Socket, refusal: Refused['refusal']): void {
  const body = statusBody(refusal)
  socket.end(
    `HTTP/1.1 ${refusal.code} ${refusal.reason}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body.toString()}`,
  )
}
