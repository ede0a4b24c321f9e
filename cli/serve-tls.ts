// TLS of serve: the certificate that was given, or a CA and a certificate of its own for development.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { X509Certificate } from 'node:crypto'
import type { ServerTls } from '@agentaccess/proxy'
import { UsageError } from './manifests.ts'

const YEAR_DAYS = 365

/** `ca`: a PEM file by which agents know the proxy. @throws UsageError */
export async function serveTls(options: { tlsCert?: string; tlsKey?: string; clientCa?: string }, spool: string): Promise<{ tls: ServerTls; ca: string }> {
  const { tlsCert, tlsKey, clientCa } = options
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new UsageError('--tls-cert and --tls-key are given together')
  const paths = tlsCert !== undefined && tlsKey !== undefined ? { cert: tlsCert, key: tlsKey, ca: tlsCert } : await development(spool)
  try {
    const context = createSecureContext({
      cert: readFileSync(paths.cert),
      key: readFileSync(paths.key),
      minVersion: 'TLSv1.2',
      ...(clientCa === undefined ? {} : { ca: readFileSync(clientCa) }),
    })
    return { tls: { context: () => context, clientCertificates: clientCa !== undefined }, ca: paths.ca }
  } catch (error) {
    throw new UsageError(`the TLS certificate, key or client CA can't be used: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/** Made once and kept, so that an agent's copy of the CA stays right. */
async function development(spool: string): Promise<{ cert: string; key: string; ca: string }> {
  const paths = { cert: `${spool}/tls-cert.pem`, key: `${spool}/tls-key.pem`, ca: `${spool}/tls-ca.pem` }
  if (Object.values(paths).every((path) => existsSync(path)) && !expired(paths.cert)) return paths
  // Loaded here only: it is needed once, and no small thing.
  const { issueCertificate, makeAuthority } = await import('@agentaccess/operator/certificates')
  const authority = await makeAuthority('AgentAccess development CA', YEAR_DAYS)
  const serving = await issueCertificate(authority, 'localhost', ['localhost', '127.0.0.1', '::1'], YEAR_DAYS)
  writeFileSync(paths.key, serving.privateKey, { mode: 0o600 })
  writeFileSync(paths.cert, serving.certificate)
  writeFileSync(paths.ca, authority.certificate)
  return paths
}

function expired(path: string): boolean {
  return new X509Certificate(readFileSync(path)).validToDate.getTime() < Date.now() + 86_400_000
}
