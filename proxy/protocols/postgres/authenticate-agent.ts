// Who is this? The agent's proof, by what PostgreSQL's protocol has for it (54.2.1 "Start-up", 54.3 "SASL Authentication").
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { clientAddress, isLoopback } from '../../client-address.ts'
import type { AgentConfig } from '../../config.ts'
import { tokenIdentity, type Identity, type Identified, type PresentedCertificate } from '../../identify/agents.ts'
import { presentedCertificate } from '../../identify/presented-certificate.ts'
import { ScramError, ScramServer } from '../../identify/scram.ts'
import type { Access } from '../../protocol.ts'
import type { PacketReader } from './packet-reader.ts'
import { FatalRefusal } from './refusals.ts'
import { authentication, AUTHENTICATION, cstrings, FieldReader, ProtocolViolation } from './wire.ts'

const MAX_PASSWORD_BYTES = 64 * 1024
const MECHANISM = 'SCRAM-SHA-256'

/** The connection does not become a session: what the client is told and the record says. */
export class Refused extends FatalRefusal {
  override readonly name = 'Refused'
}

/**
 * A certificate is presented before anything is asked; then it counts, and nothing else. Else the pod that calls, where the
 * access has agents that are known by it; a password is asked for only where that is no answer. @throws Refused
 */
export async function authenticateAgent(socket: Socket, reader: PacketReader, user: string, access: Access): Promise<Identity> {
  const { agents } = access
  const certificate = presentedCertificate(socket)
  if (certificate?.invalid !== undefined) throw invalid(agents.byCertificate(certificate))
  const agent = agents.named(user)
  if (agent) return accepted(await proofOf(agent, socket, reader, access, certificate))
  if (certificate) return accepted(agents.byCertificate(certificate))
  if (agents.byPod) {
    const identified = await agents.byCallingPod(clientAddress(socket))
    if ('identity' in identified || !agents.byPassword) return accepted(identified)
  }
  return accepted(await byPassword(socket, reader, access))
}

/** A user that is an agent's name: that agent's proof, and no other. */
async function proofOf(
  agent: AgentConfig,
  socket: Socket,
  reader: PacketReader,
  access: Access,
  certificate: PresentedCertificate | undefined,
): Promise<Identified> {
  const { agents } = access
  if (agent.clientCertificate) {
    if (certificate) return agents.byCertificate(certificate, agent)
    throw new Refused({
      sqlstate: '28000',
      message: `agent ${agent.name} proves itself by a client certificate, and none was presented`,
      hint: 'Connect with sslmode=verify-full, sslcert and sslkey.',
    })
  }
  if (agent.serviceAccount) {
    const { proofs } = agent.serviceAccount
    if (proofs.includes('Pod')) {
      const identified = await agents.byCallingPod(clientAddress(socket), agent)
      if ('identity' in identified || !proofs.includes('Token')) return identified
    }
    return byPassword(socket, reader, access, agent)
  }
  if (agent.oidc) return byPassword(socket, reader, access, agent)
  const secret = await agents.scramSecret(agent)
  if (!secret) throw new Refused({ sqlstate: '28000', message: `agent ${agent.name} has no proof that this protocol knows` })
  const server = new ScramServer(secret)
  socket.write(authentication(AUTHENTICATION.sasl, cstrings(MECHANISM, '')))
  try {
    const first = decodeSaslInitial((await passwordMessage(reader)).body)
    socket.write(authentication(AUTHENTICATION.saslContinue, Buffer.from(server.first(first))))
    const final = server.final((await passwordMessage(reader)).body.toString('utf8'))
    socket.write(authentication(AUTHENTICATION.saslFinal, Buffer.from(final)))
  } catch (error) {
    if (error instanceof ScramError) return { refusal: error.message }
    throw error
  }
  return tokenIdentity(agent.name)
}

/** SASLInitialResponse: mechanism, length (4), client-first-message. */
function decodeSaslInitial(body: Buffer): string {
  const fields = new FieldReader(body, 0, body.length)
  const mechanism = fields.cstring()
  const data = fields.bytes(fields.int32()).toString('utf8')
  fields.done()
  if (mechanism !== MECHANISM) throw new ProtocolViolation(`SASL mechanism ${mechanism} was not offered`)
  return data
}

/** A token as the password; over TLS or loopback only. Without `agent`, whoever's it is. */
async function byPassword(socket: Socket, reader: PacketReader, { agents }: Access, agent?: AgentConfig): Promise<Identified> {
  if (!(socket instanceof TLSSocket) && !isLoopback(clientAddress(socket))) {
    throw new Refused({
      sqlstate: '28000',
      message: 'a token is taken as a password over TLS only',
      hint: 'Connect with sslmode=verify-full; an agent with a shared token may also connect with its name as the user.',
    })
  }
  socket.write(authentication(AUTHENTICATION.cleartextPassword))
  const { body } = await passwordMessage(reader)
  const fields = new FieldReader(body, 0, body.length)
  const password = fields.cstring()
  fields.done()
  return agents.byToken(password, agent)
}

async function passwordMessage(reader: PacketReader): Promise<{ body: Buffer }> {
  const { type, body } = await reader.message(MAX_PASSWORD_BYTES)
  if (type !== 'p') throw new ProtocolViolation(`expected a password response, got message of type ${JSON.stringify(type)}`)
  return { body }
}

function accepted(identified: Identified): Identity {
  if ('identity' in identified) return identified.identity
  throw new Refused({
    sqlstate: '28P01',
    message: 'the proof of who the agent is was not accepted',
    detail: identified.refusal,
    hint: "The user is an agent's name, or any other; the password is the agent's token. The access lists its agents.",
  })
}

function invalid(identified: Identified): Refused {
  return new Refused({
    sqlstate: '28000',
    message: 'refusal' in identified ? identified.refusal : '',
    hint: 'The certificate must be signed by the CA for client certificates that the proxy was given.',
  })
}
