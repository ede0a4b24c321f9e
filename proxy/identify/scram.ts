// SCRAM-SHA-256 (RFC 5802, RFC 7677), both sides: the proxy is a server to the agent and a client to the target.
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual, type X509Certificate } from 'node:crypto'
import { promisify } from 'node:util'
import { saslprep } from '@mongodb-js/saslprep'

const ITERATIONS = 4096
const MAX_ITERATIONS = 1_000_000
const derive = promisify(pbkdf2)
const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest()
const xor = (a: Buffer, b: Buffer) => Buffer.from(a.map((byte, i) => byte ^ b[i]!))

/** The other side does not speak SCRAM, or does not know the secret. */
export class ScramError extends Error {
  override readonly name = 'ScramError'
}

/** PostgreSQL uses a password that SASLprep refuses as it is. */
function prepared(password: string): string {
  try {
    return saslprep(password)
  } catch {
    return password
  }
}

const saltedPassword = (password: string, salt: Buffer, iterations: number) => derive(prepared(password), salt, iterations, 32, 'sha256')

function attributes(message: string): Map<string, string> {
  const map = new Map<string, string>()
  for (const part of message.split(',')) if (part[1] === '=') map.set(part[0]!, part.slice(2))
  return map
}

/** What a server keeps of a password. */
export interface ScramSecret {
  salt: Buffer
  iterations: number
  storedKey: Buffer
  serverKey: Buffer
}

export async function scramSecret(password: string): Promise<ScramSecret> {
  const salt = randomBytes(16)
  const salted = await saltedPassword(password, salt, ITERATIONS)
  return { salt, iterations: ITERATIONS, storedKey: sha256(hmac(salted, 'Client Key')), serverKey: hmac(salted, 'Server Key') }
}

export class ScramServer {
  readonly #secret: ScramSecret
  #gs2 = ''
  #clientFirstBare = ''
  #serverFirst = ''
  #nonce = ''

  constructor(secret: ScramSecret) {
    this.#secret = secret
  }

  /** client-first-message → server-first-message. @throws ScramError */
  first(message: string): string {
    const match = /^([ny],(?:a=[^,]*)?,)(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]+).*)$/.exec(message)
    // `p=`: channel binding, which was not offered.
    if (!match) throw new ScramError('malformed SCRAM client-first-message')
    this.#gs2 = match[1]!
    this.#clientFirstBare = match[2]!
    this.#nonce = match[3]! + randomBytes(18).toString('base64')
    this.#serverFirst = `r=${this.#nonce},s=${this.#secret.salt.toString('base64')},i=${this.#secret.iterations}`
    return this.#serverFirst
  }

  /** client-final-message → server-final-message. @throws ScramError, also where the proof is wrong. */
  final(message: string): string {
    const proofAt = message.lastIndexOf(',p=')
    const fields = attributes(message)
    const proof = Buffer.from(fields.get('p') ?? '', 'base64')
    if (proofAt === -1 || proof.length !== 32 || fields.get('r') !== this.#nonce || fields.get('c') !== Buffer.from(this.#gs2).toString('base64'))
      throw new ScramError('malformed SCRAM client-final-message')
    const authMessage = `${this.#clientFirstBare},${this.#serverFirst},${message.slice(0, proofAt)}`
    const clientKey = xor(proof, hmac(this.#secret.storedKey, authMessage))
    if (!timingSafeEqual(sha256(clientKey), this.#secret.storedKey)) throw new ScramError('wrong password')
    return `v=${hmac(this.#secret.serverKey, authMessage).toString('base64')}`
  }
}

export class ScramClient {
  readonly mechanism: 'SCRAM-SHA-256' | 'SCRAM-SHA-256-PLUS'
  readonly #password: string
  readonly #gs2: Buffer
  readonly #nonce = randomBytes(18).toString('base64')
  #serverSignature = ''
  /** Whether the server has shown that it knows the password. */
  verified = false

  /** `endPoint`: the tls-server-end-point binding data (RFC 5929), where the server offers `-PLUS` and TLS has one. */
  constructor(password: string, offered: readonly string[], endPoint?: Buffer) {
    this.#password = password
    if (endPoint && offered.includes('SCRAM-SHA-256-PLUS')) {
      this.mechanism = 'SCRAM-SHA-256-PLUS'
      this.#gs2 = Buffer.concat([Buffer.from('p=tls-server-end-point,,'), endPoint])
    } else if (offered.includes('SCRAM-SHA-256')) {
      this.mechanism = 'SCRAM-SHA-256'
      // `y`: we could, the server did not offer: a downgrade in between is then found by the server.
      this.#gs2 = Buffer.from(endPoint ? 'y,,' : 'n,,')
    } else throw new ScramError(`the target offers only ${offered.join(', ')}`)
  }

  get #header(): string {
    return this.mechanism === 'SCRAM-SHA-256-PLUS' ? 'p=tls-server-end-point,,' : this.#gs2.toString()
  }

  first(): string {
    return `${this.#header}n=,r=${this.#nonce}`
  }

  /** server-first-message → client-final-message. @throws ScramError */
  async final(message: string): Promise<string> {
    const fields = attributes(message)
    const nonce = fields.get('r') ?? ''
    const iterations = Number(fields.get('i'))
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length || !(iterations >= 1 && iterations <= MAX_ITERATIONS))
      throw new ScramError('malformed SCRAM server-first-message')
    const salted = await saltedPassword(this.#password, Buffer.from(fields.get('s') ?? '', 'base64'), iterations)
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=${this.#gs2.toString('base64')},r=${nonce}`
    const authMessage = `n=,r=${this.#nonce},${message},${withoutProof}`
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')
    return `${withoutProof},p=${xor(clientKey, hmac(sha256(clientKey), authMessage)).toString('base64')}`
  }

  /** server-final-message. @throws ScramError where the server does not know the password. */
  verify(message: string): void {
    if (attributes(message).get('v') !== this.#serverSignature) throw new ScramError('the target does not know the password: its signature is wrong')
    this.verified = true
  }
}

/** tls-server-end-point (RFC 5929, section 4.1) of a certificate; undefined where its signature algorithm names no hash. */
export function tlsServerEndPoint(certificate: X509Certificate): Buffer | undefined {
  const name = /sha-?\d+|md5/i
    .exec(certificate.signatureAlgorithm ?? '')?.[0]
    .toLowerCase()
    .replace('-', '')
  if (name === undefined) return undefined
  // MD5 and SHA-1 are replaced by SHA-256.
  return createHash(name === 'md5' || name === 'sha1' ? 'sha256' : name)
    .update(certificate.raw)
    .digest()
}
