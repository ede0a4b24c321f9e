// The frame of a message and the messages that the proxy itself makes.
// PostgreSQL documentation, "Frontend/Backend Protocol", 54.7 "Message Formats".

/** A message: type (1), length of all that follows the type, itself included (4), body. */
export const HEADER = 5

export const code = (letter: string): number => letter.charCodeAt(0)

export function message(type: string, body: Uint8Array | string = ''): Buffer {
  const content = typeof body === 'string' ? Buffer.from(body) : body
  const out = Buffer.allocUnsafe(HEADER + content.length)
  out[0] = code(type)
  out.writeUInt32BE(content.length + 4, 1)
  out.set(content, HEADER)
  return out
}

/** Values that end in NUL, one after another. */
export const cstrings = (...values: string[]): Buffer => Buffer.from(values.map((value) => `${value}\0`).join(''))

export interface PostgresError {
  severity: 'ERROR' | 'FATAL'
  /** SQLSTATE, appendix A. */
  sqlstate: string
  message: string
  detail?: string
  hint?: string
}

/** ErrorResponse (B). Fields: 54.8. */
export function errorResponse({ severity, sqlstate, message: text, detail, hint }: PostgresError): Buffer {
  const fields: [string, string | undefined][] = [
    ['S', severity],
    ['V', severity],
    ['C', sqlstate],
    ['M', text],
    ['D', detail],
    ['H', hint],
  ]
  const clean = (value: string) => value.replaceAll('\0', '')
  return message('E', `${fields.flatMap(([name, value]) => (value === undefined ? [] : [`${name}${clean(value)}\0`])).join('')}\0`)
}

/** The fields of an ErrorResponse or NoticeResponse body, by their letter. A cut body gives the fields that are whole. */
export function errorFields(body: Buffer): Map<string, string> {
  const fields = new Map<string, string>()
  for (let at = 0; at < body.length && body[at] !== 0;) {
    const end = body.indexOf(0, at)
    if (end === -1) break
    fields.set(String.fromCharCode(body[at]!), body.toString('utf8', at + 1, end))
    at = end + 1
  }
  return fields
}

/** AuthenticationOk, AuthenticationCleartextPassword, AuthenticationSASL… (B): `R`, a code, and its data. */
export function authentication(kind: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const body = Buffer.allocUnsafe(4 + data.length)
  body.writeUInt32BE(kind)
  body.set(data, 4)
  return message('R', body)
}

export const AUTHENTICATION = { ok: 0, cleartextPassword: 3, md5Password: 5, sasl: 10, saslContinue: 11, saslFinal: 12 } as const

/** The request codes that come without a type, at the start of a connection. */
export const REQUEST = { cancel: 80877102, ssl: 80877103, gssEncryption: 80877104 } as const

/** A message that has no place in the protocol, is malformed, or of a type that the proxy does not know. */
export class ProtocolViolation extends Error {
  override readonly name = 'ProtocolViolation'
}

/** Reads the fields of one message's body, and refuses to read past its end. */
export class FieldReader {
  readonly #bytes: Buffer
  readonly #end: number
  #at: number

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  get left(): number {
    return this.#end - this.#at
  }

  #take(bytes: number): number {
    if (bytes < 0 || this.left < bytes) throw new ProtocolViolation('a message is shorter than its fields')
    const at = this.#at
    this.#at += bytes
    return at
  }

  int8(): number {
    return this.#bytes[this.#take(1)]!
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#take(2))
  }

  /** A count, which is never negative. */
  count(): number {
    return this.#bytes.readUInt16BE(this.#take(2))
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#take(4))
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#take(4))
  }

  bytes(length: number): Buffer {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  /** The bytes up to a NUL, which is passed over. */
  cstringBytes(): Buffer {
    const end = this.#bytes.indexOf(0, this.#at)
    if (end === -1 || end >= this.#end) throw new ProtocolViolation('a string in a message does not end')
    const bytes = this.#bytes.subarray(this.#at, end)
    this.#at = end + 1
    return bytes
  }

  cstring(): string {
    // Most names are the empty one.
    if (this.left > 0 && this.#bytes[this.#at] === 0) {
      this.#at++
      return ''
    }
    return this.cstringBytes().toString('utf8')
  }

  done(): void {
    if (this.left !== 0) throw new ProtocolViolation('a message is longer than its fields')
  }
}
