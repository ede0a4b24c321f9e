// TLS of serve: the certificate that was given, or a CA and a certificate of its own for development.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { webcrypto, X509Certificate } from 'node:crypto'
import type { ServerTls } from '@agentaccess/proxy'
import { UsageError } from './manifests.ts'

const YEAR_MS = 365 * 86_400_000
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

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
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  x509.cryptoProvider.set(webcrypto)
  const generate = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const [caKeys, keys] = await Promise.all([generate(), generate()])
  const now = Date.now()
  const dates = { notBefore: new Date(now - 3_600_000), notAfter: new Date(now + YEAR_MS) }
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates,
    serialNumber: serial(),
    name: 'CN=AgentAccess development CA',
    keys: caKeys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  })
  const certificate = await x509.X509CertificateGenerator.create({
    ...dates,
    serialNumber: serial(),
    subject: 'CN=localhost',
    issuer: ca.subject,
    publicKey: keys.publicKey,
    signingKey: caKeys.privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.SubjectAlternativeNameExtension([
        { type: 'dns', value: 'localhost' },
        { type: 'ip', value: '127.0.0.1' },
        { type: 'ip', value: '::1' },
      ]),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  })
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64')
  writeFileSync(paths.key, `-----BEGIN PRIVATE KEY-----\n${pkcs8.match(/.{1,64}/g)!.join('\n')}\n-----END PRIVATE KEY-----\n`, { mode: 0o600 })
  writeFileSync(paths.cert, `${certificate.toString('pem')}\n`)
  writeFileSync(paths.ca, `${ca.toString('pem')}\n`)
  return paths
}

const serial = () => `01${Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString('hex')}`

function expired(path: string): boolean {
  return new X509Certificate(readFileSync(path)).validToDate.getTime() < Date.now() + 86_400_000
}
