// A certificate authority of our own, and what it signs: serving certificates of proxies (those of `serve`, too), and the
// operator's client certificate, by which proxies know who asks for their state.
import 'reflect-metadata'
import { webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)

const DAY_MS = 86_400_000
const CA_DAYS = 3650
const LEAF_DAYS = 90
/** Renewed with this much left. */
const RENEW_MS = 30 * DAY_MS
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

/** PEM. */
export interface KeyPair {
  certificate: string
  privateKey: string
}

const serial = () => `01${Buffer.from(webcrypto.getRandomValues(new Uint8Array(15))).toString('hex')}`
const generate = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
/** An hour back: clocks differ. */
const validFor = (days: number) => ({ notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + days * DAY_MS) })

async function pem(key: webcrypto.CryptoKey): Promise<string> {
  return `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')}\n`
}

export async function makeAuthority(name: string, days = CA_DAYS): Promise<KeyPair> {
  const keys = await generate()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    ...validFor(days),
    serialNumber: serial(),
    name: `CN=${name}`,
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate: `${certificate.toString('pem')}\n`, privateKey: await pem(keys.privateKey) }
}

/** `names`: DNS names and addresses of a server; with none, it is a client's. */
export async function issueCertificate(authority: KeyPair, commonName: string, names: readonly string[], days = LEAF_DAYS): Promise<KeyPair> {
  const ca = new x509.X509Certificate(authority.certificate)
  const signingKey = await webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(authority.privateKey), ALGORITHM, false, ['sign'])
  const keys = await generate()
  const usage = names.length > 0 ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth
  const certificate = await x509.X509CertificateGenerator.create({
    ...validFor(days),
    serialNumber: serial(),
    subject: `CN=${commonName}`,
    issuer: ca.subject,
    publicKey: keys.publicKey,
    signingKey,
    signingAlgorithm: ALGORITHM,
    extensions: [
      ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })))] : []),
      new x509.ExtendedKeyUsageExtension([usage]),
      await x509.AuthorityKeyIdentifierExtension.create(ca.publicKey),
    ],
  })
  return { certificate: `${certificate.toString('pem')}\n`, privateKey: await pem(keys.privateKey) }
}

/** Whether a certificate is still good: of this authority, for just these names, and not about to end. */
export function isCurrent(pair: KeyPair | undefined, authority: KeyPair, names: readonly string[], now = Date.now()): boolean {
  if (!pair) return false
  try {
    const certificate = new X509Certificate(pair.certificate)
    const has = (certificate.subjectAltName ?? '').split(', ').filter((name) => name !== '')
    return (
      certificate.verify(new X509Certificate(authority.certificate).publicKey) &&
      certificate.validToDate.getTime() - now > RENEW_MS &&
      has.length === names.length &&
      names.every((name) => (isIP(name) ? certificate.checkIP(name) !== undefined : has.includes(`DNS:${name}`)))
    )
  } catch {
    return false
  }
}
