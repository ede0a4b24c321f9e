// Who asks: by bearer token, client certificate or calling pod. What was presented and is wrong is final.
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { clientAddress, isLoopback } from '../../client-address.ts'
import type { Identity, Identified } from '../../identify/agents.ts'
import { presentedCertificate } from '../../identify/presented-certificate.ts'
import type { Access } from '../../protocol.ts'
import { Refused } from './status.ts'

/** Clients in browsers bring a token so; no other does. */
const TOKEN_PROTOCOL = 'base64url.bearer.authorization.k8s.io.'

/** @throws Refused */
export async function identifyAgent(request: IncomingMessage, access: Access): Promise<Identity> {
  const { agents } = access
  const { authorization } = request.headers
  const certificate = presentedCertificate(request.socket)
  if (request.headers['sec-websocket-protocol']?.includes(TOKEN_PROTOCOL)) throw refused('a token in Sec-WebSocket-Protocol is not taken')
  let identified: Identified | undefined
  if (authorization !== undefined) {
    const token = /^Bearer +([^\s]+)$/i.exec(authorization)?.[1]
    if (token === undefined) throw refused('the Authorization header is not a bearer token')
    if (!(request.socket instanceof TLSSocket) && !isLoopback(clientAddress(request.socket))) throw refused('a token is taken over TLS only')
    identified = await agents.byToken(token)
  }
  if (certificate && !(identified && 'refusal' in identified))
    identified = agents.byCertificate(certificate, identified && agents.named(identified.identity.agent))
  if (!identified) {
    if (!agents.byPod) throw refused('no proof of who the agent is was presented')
    identified = await agents.byCallingPod(clientAddress(request.socket))
  }
  if ('refusal' in identified) throw refused(identified.refusal)
  return identified.identity
}

/** The agent is told no more than kubectl's users are: why, is in the record. */
const refused = (why: string): Refused =>
  new Refused({ code: 401, reason: 'Unauthorized', message: 'the proof of who the agent is was not accepted; the access lists its agents' }, why)
