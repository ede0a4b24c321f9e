// A certificate authority for a test, and certificates that it signs.
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto)
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const dates = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) }

interface Certificate {
  cert: string
  key: string
}

export interface Authority extends Certificate {
  /** Signs a certificate for a common name; `host` goes into subjectAltName. */
  issue(commonName: string, host?: string): Promise<Certificate>
}

const generate = () => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', key), 'PRIVATE KEY')
}

export async function makeAuthority(name: string): Promise<Authority> {
  const keys = await generate()
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...dates,
    name: `CN=${name}`,
    keys,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  })
  return {
    cert: ca.toString('pem'),
    key: await privateKeyPem(keys.privateKey),
    issue: async (commonName, host) => {
      const own = await generate()
      const names: x509.JsonGeneralName[] = host === undefined ? [] : [{ type: /^[\d.]+$/.test(host) ? 'ip' : 'dns', value: host }]
      const certificate = await x509.X509CertificateGenerator.create({
        ...dates,
        subject: `CN=${commonName}`,
        issuer: ca.subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: names.length > 0 ? [new x509.SubjectAlternativeNameExtension(names)] : [],
      })
      return { cert: certificate.toString('pem'), key: await privateKeyPem(own.privateKey) }
    },
  }
}
