// One request of an agent's: recorded, decided, passed on, and its answer recorded before the agent has all of it.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { v4 as uuidv4 } from 'uuid'
import type { Session } from '../../session.ts'
import type { ResultFields } from '../../record/session-record.ts'
import type { Activity } from '../../activity.ts'
import { NO_BODY, readBody } from './body.ts'
import { commandOf, type Asked } from './command.ts'
import { relay } from './relay.ts'
import { Refused, statusBody, type Refusal } from './status.ts'
import type { OnBehalf, Upstream } from './upstream.ts'

export interface ExchangeOptions {
  session: Session
  activity: Activity
  upstream: Upstream
  asked: Asked
  /** With its query, as it came. */
  target: string
  onBehalf: OnBehalf
}

/** A command that is in the record and has no result yet. */
export class Running {
  readonly session: Session
  readonly command: number
  readonly #startedAt = performance.now()
  #over = false
  /** Whether any of it has gone to the API server. */
  forwarded = false
  /** The code of its answer, once that has begun. */
  code: number | undefined
  /** Records what there still is to say. */
  beforeEnd: (() => void) | undefined

  constructor(session: Session, command: number) {
    this.session = session
    this.command = command
  }

  /** Since it was recorded; milliseconds. */
  get elapsedMs(): number {
    return performance.now() - this.#startedAt
  }

  get over(): boolean {
    return this.#over
  }

  /** The first result counts; later ones are what comes of ending. */
  ends(fields: Omit<ResultFields, 'final' | 'durationMs'>): void {
    if (this.#over || this.session.record.ended) return
    this.#over = true
    this.beforeEnd?.()
    this.session.record.result(this.command, { ...fields, final: true, durationMs: this.elapsedMs })
  }

  /** The agent has gone before it had all of the answer: enough of a watch, or a change of which it can't know whether it was made. */
  left(): void {
    this.cut('the client closed the connection')
  }

  /** It ends before its answer does; what that was, is known once it has begun. */
  cut(why: string): void {
    const { code, forwarded } = this
    const status = code !== undefined ? 'cancelled' : forwarded ? 'outcome unknown' : 'not executed'
    this.ends({ status, attributes: { ...(code === undefined ? {} : { 'http.response.status_code': code }), 'agentaccess.error.message': why } })
  }
}

const NOTHING = Buffer.alloc(0)

/** A body that has not come by then does not come. */
const BODY_MS = 300_000

/** All of a request's body. @throws Refused where it is larger */
async function gather(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = () =>
    new Refused({
      code: 413,
      reason: 'RequestEntityTooLarge',
      message: `the request's body is larger than ${maxBytes} bytes, which recording.maxCommandBytes allows`,
    })
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers
  if (length === undefined && coding === undefined) return NOTHING
  if (Number(length ?? 0) > maxBytes) throw tooLarge()
  const timer = setTimeout(() => request.destroy(), BODY_MS)
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) throw tooLarge()
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  } finally {
    clearTimeout(timer)
  }
}

/** Resolves once all that was recorded before is in the log. @throws Refused */
function recorded(session: Session): Promise<void> {
  return new Promise((resolve, reject) => session.pass(resolve, (why) => reject(cannotRecord(why))))
}

export const cannotRecord = (why: string): Refused =>
  new Refused({ code: 503, reason: 'ServiceUnavailable', message: `the request can't be recorded, so it is not let through: ${why}` })

/** What admit tells of: a command that is in the record, and that it was denied. */
interface Admission {
  begun: (running: Running) => void
  denied: (refusal: Refusal) => void
}

/** Records the command and decides: one that is denied is over. @throws Refused where it can't be recorded */
export async function admit(
  { session, asked }: ExchangeOptions,
  body: Buffer,
  contentType: string,
  auditId: string,
  { begun, denied }: Admission,
): Promise<Running> {
  const { config } = session.access
  const read = readBody(body, contentType, asked.info, config.recording.parameters)
  const { attributes, understood } = commandOf(asked, read, auditId)
  const blocked = session.blocked()
  if (blocked !== undefined) {
    session.refusedUnrecorded(blocked)
    throw cannotRecord(blocked)
  }
  const running = new Running(session, session.record.command(attributes))
  begun(running)
  const decision = await session.decide(running.command, understood)
  if (decision.action === 'deny') {
    running.ends({ status: 'denied', attributes: { 'http.response.status_code': 403, 'agentaccess.rule': decision.rule } })
    await recorded(session)
    denied(forbidden(asked, decision.message))
    return running
  }
  await recorded(session)
  return running
}

/** What is refused for its size is a command, too: all of it but the body. */
function recordTooLarge({ session, asked }: ExchangeOptions, { code, message }: Refusal): void {
  if (session.record.ended || session.blocked() !== undefined) return
  const running = new Running(session, session.record.command(commandOf(asked, NO_BODY, '').attributes))
  session.record.decision(running.command, { action: 'deny', rule: 'built-in/too-large', message, revision: session.access.policy.revision })
  running.ends({ status: 'denied', attributes: { 'http.response.status_code': code, 'agentaccess.rule': 'built-in/too-large' } })
}

/** As RBAC's: `pods "x" is forbidden: …`. */
function forbidden({ info, path }: Asked, why: string): Refusal {
  const { resource, subresource, group, name } = info
  if (resource === '') return { code: 403, reason: 'Forbidden', message: `forbidden: ${why} (path ${path})` }
  const kind = subresource === '' ? resource : `${resource}/${subresource}`
  const qualified = group === '' ? kind : `${resource}.${group}${subresource === '' ? '' : `/${subresource}`}`
  return { code: 403, reason: 'Forbidden', message: `${qualified} ${JSON.stringify(name)} is forbidden: ${why}`, details: { name, group, kind: resource } }
}

/** Never rejects: what goes wrong is told to the agent and recorded. */
export async function exchange(request: IncomingMessage, response: ServerResponse, options: ExchangeOptions): Promise<void> {
  const { session, activity, upstream, asked, target, onBehalf } = options
  let running: Running | undefined
  let sent: ReturnType<Upstream['request']> | undefined
  const done = activity.begin({
    abort: (why) => {
      running?.cut(why)
      sent?.destroy()
      response.socket?.destroy()
    },
  })
  response.once('close', () => {
    // The agent has gone in the middle: a watch that was enough, or a lost connection.
    if (!response.writableFinished) {
      running?.left()
      sent?.destroy()
    }
  })
  try {
    const body = await gather(request, session.access.config.recording.maxCommandBytes)
    const auditId = uuidv4()
    const begun = (one: Running) => (running = one)
    const command = await admit(options, body, request.headers['content-type'] ?? '', auditId, { begun, denied: (refusal) => refuse(response, refusal) })
    const headers = command.over ? {} : await upstream.headers(request.headers, auditId, onBehalf)
    // Denied; or the agent, or the session, has gone meanwhile, and the record says that it was not executed.
    if (command.over) return
    // What is answered is read: it must not be compressed. What a pod or a Service answers is not.
    if (asked.info.subresource !== 'proxy') delete headers['accept-encoding']
    if (body.length > 0 || 'content-length' in request.headers || 'transfer-encoding' in request.headers) headers['content-length'] = body.length
    command.forwarded = true
    sent = upstream.request(asked.method, target, headers)
    sent.end(body)
    await relay(await answered(sent), response, command, asked)
  } catch (error) {
    const refusal = refusalOf(error)
    if (!running && refusal.code === 413) recordTooLarge(options, refusal)
    running?.ends({
      status: running.forwarded ? 'outcome unknown' : 'not executed',
      attributes: { 'http.response.status_code': refusal.code, 'error.type': refusal.reason, 'agentaccess.error.message': refusal.message },
    })
    if (response.headersSent) response.destroy()
    else refuse(response, refusal)
  } finally {
    running?.left()
    done()
  }
}

export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refused) return error.refusal
  return { code: 502, reason: 'BadGateway', message: `the API server can't be asked: ${error instanceof Error ? error.message : String(error)}` }
}

function answered(sent: ReturnType<Upstream['request']>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    sent.once('response', resolve)
    sent.once('error', reject)
    sent.on('information', () => {})
  })
}

/** Answers with a Status, and ends the connection where something of the request has not been read. */
export function refuse(response: ServerResponse, refusal: Refusal): void {
  if (response.destroyed || response.headersSent) return
  const body = statusBody(refusal)
  const unread = !response.req.complete
  response.writeHead(refusal.code, { 'content-type': 'application/json', 'content-length': body.length, ...(unread ? { connection: 'close' } : {}) })
  response.end(body)
}
