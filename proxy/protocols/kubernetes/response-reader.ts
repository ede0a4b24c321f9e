// What an answer of the API server says, from a view of its bytes: how many items a list has, in constant memory, and what
// a Status says.

const MAX_STATUS = 64 * 1024
const [QUOTE, BACKSLASH, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = ['"', '\\', '{', '}', '[', ']'].map((character) => character.charCodeAt(0)) as [
  number,
  number,
  number,
  number,
  number,
  number,
]

export interface Said {
  items?: number
  reason?: string
  message?: string
}

export class ResponseReader {
  readonly #status: boolean
  readonly #counter: ItemCounter | undefined
  readonly #chunks: Buffer[] = []
  #gathered = 0
  bytes = 0

  /** `list`: the answer is one, where it is a good one. */
  constructor(code: number, contentType: string, list: boolean) {
    const json = contentType.startsWith('application/json')
    this.#status = json && code >= 400
    this.#counter = json && list && code < 300 ? new ItemCounter() : undefined
  }

  add(chunk: Buffer): void {
    this.bytes += chunk.length
    this.#counter?.add(chunk)
    if (!this.#status || this.#gathered > MAX_STATUS) return
    this.#gathered += chunk.length
    this.#chunks.push(chunk)
  }

  said(): Said {
    if (this.#counter) return this.#counter.items === undefined ? {} : { items: this.#counter.items }
    if (!this.#status || this.#gathered > MAX_STATUS) return {}
    try {
      const { kind, reason, message } = JSON.parse(Buffer.concat(this.#chunks).toString('utf8')) as Record<string, unknown>
      if (kind !== 'Status') return {}
      return { ...(typeof reason === 'string' ? { reason } : {}), ...(typeof message === 'string' ? { message } : {}) }
    } catch {
      return {}
    }
  }
}

/** Counts what stands in the list `items` of an object, or in `rows` of a Table. Chunks may end anywhere. */
class ItemCounter {
  /** Undefined where there is no such list. */
  items: number | undefined
  #depth = 0
  #counting = false
  #inString = false
  #escaped = false
  /** Of the string that stands at depth 1, as far as it can matter. */
  #key = ''

  add(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; at++) {
      if (this.#inString) {
        at = this.#string(chunk, at)
        continue
      }
      switch (chunk[at]) {
        case QUOTE:
          this.#inString = true
          this.#key = ''
          break
        case OPEN:
          if (this.#counting && this.#depth === 2) this.items = (this.items ?? 0) + 1
          this.#depth++
          break
        case CLOSE:
        case CLOSE_LIST:
          this.#depth--
          if (this.#depth === 1) this.#counting = false
          break
        case OPEN_LIST:
          this.#depth++
          if (this.#depth === 2 && (this.#key === 'items' || this.#key === 'rows')) {
            this.#counting = true
            this.items = 0
          }
          break
        default:
          break
      }
    }
  }

  /** Passes over a string, to its closing quote. Returns where that stands, or the chunk's last byte. */
  #string(chunk: Buffer, from: number): number {
    let at = from
    if (this.#escaped) {
      this.#escaped = false
      at++
    }
    for (;;) {
      const quote = chunk.indexOf(QUOTE, at)
      const end = quote === -1 ? chunk.length : quote
      let backslashes = 0
      while (end - 1 - backslashes >= at && chunk[end - 1 - backslashes] === BACKSLASH) backslashes++
      if (this.#depth === 1 && this.#key.length < 8) this.#key += chunk.toString('latin1', at, Math.min(end, at + 8))
      if (quote === -1) {
        this.#escaped = backslashes % 2 === 1
        return chunk.length - 1
      }
      if (backslashes % 2 === 0) {
        this.#inString = false
        return quote
      }
      at = quote + 1
    }
  }
}
