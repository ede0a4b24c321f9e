// The certificate that a client showed, and whether it verifies.
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { PresentedCertificate } from './agents.ts'

/** The handshake says it once; requests ask many times. */
const known = new WeakMap<Socket, PresentedCertificate | undefined>()

/** Undefined where it showed none. */
export function presentedCertificate(socket: Socket): PresentedCertificate | undefined {
  if (!(socket instanceof TLSSocket)) return undefined
  if (!known.has(socket)) known.set(socket, presented(socket))
  return known.get(socket)
}

function presented(socket: TLSSocket): PresentedCertificate | undefined {
  const certificate = socket.getPeerCertificate()
  if (Object.keys(certificate).length === 0) return undefined
  const name = certificate.subject?.CN
  return { commonName: Array.isArray(name) ? undefined : name, invalid: verifyError(socket) }
}

/**
 * Why the peer's certificate does not verify. `authorized` is set by a tls.Server only, and this socket was plain before: so
 * OpenSSL's own answer is asked for, where a tls.Server asks for it. If it can't be had, the certificate does not verify.
 */
function verifyError(socket: TLSSocket): string | undefined {
  const { _handle: handle } = socket as unknown as { _handle?: { verifyError?: () => (Error & { code?: string }) | null } }
  if (typeof handle?.verifyError !== 'function') return 'it can not be checked by this version of Node.js'
  const error = handle.verifyError()
  return error ? (error.code ?? error.message) : undefined
}
