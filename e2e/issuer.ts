// An OpenID Connect issuer, as far as anyone who checks its tokens sees it: its two documents, over HTTP, and tokens that it signs.
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'

export class Issuer {
  readonly #server: Server
  readonly #keys: JWK[] = []
  #sign: CryptoKey | undefined
  #kid = 0
  url = ''

  readonly #scheme: 'http' | 'https'

  /** By HTTPS where it has a certificate. */
  constructor(certificate?: { cert: string; key: string }) {
    const answer: RequestListener = (request, response) => {
      const body = request.url === '/keys' ? { keys: this.#keys } : { issuer: this.url, jwks_uri: `${this.url}/keys` }
      response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
    }
    this.#scheme = certificate ? 'https' : 'http'
    this.#server = certificate ? createSecureServer(certificate, answer) : createServer(answer)
  }

  async start(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.url = `${this.#scheme}://127.0.0.1:${(this.#server.address() as { port: number }).port}`
    await this.rotate()
  }

  /** A new key; what the old one signed stays good, as long as it is published. */
  async rotate(): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    this.#keys.push({ ...(await exportJWK(publicKey)), kid: String(++this.#kid), alg: 'ES256' })
    this.#sign = privateKey
  }

  token(claims: { sub?: string; aud?: string; exp?: string | number; iss?: string } = {}): Promise<string> {
    const { sub = 'repo:acme/shop:main', aud = 'agentaccess', exp = '5m', iss = this.url } = claims
    return new SignJWT({ sub })
      .setProtectedHeader({ alg: 'ES256', kid: String(this.#kid) })
      .setIssuer(iss)
      .setAudience(aud)
      .setExpirationTime(exp)
      .sign(this.#sign!)
  }

  stop(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
