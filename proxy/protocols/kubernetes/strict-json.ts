// JSON that can be read in one way only. Go's decoder merges what stands under a key that is there twice, JavaScript's takes
// the last: a rule would be judging something else than the API server does.

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** @throws SyntaxError where it is not JSON in UTF-8, or has a key of an object twice */
export function parseStrictJson(bytes: Uint8Array): unknown {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch {
    throw new SyntaxError('it is not UTF-8')
  }
  const value: unknown = JSON.parse(text)
  const twice = duplicateKey(text)
  if (twice !== undefined) throw new SyntaxError(`it has the key ${JSON.stringify(twice)} twice in one object`)
  return value
}

const [QUOTE, BACKSLASH, COLON, OPEN, CLOSE] = ['"', '\\', ':', '{', '}'].map((character) => character.charCodeAt(0)) as [
  number,
  number,
  number,
  number,
  number,
]
const isSpace = (code: number) => code === 0x20 || (code >= 0x09 && code <= 0x0d)

/** Of a text that JSON.parse takes: so a string before a colon is a key, and braces match. */
function duplicateKey(text: string): string | undefined {
  const objects: Set<string>[] = []
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === OPEN) objects.push(new Set())
    else if (code === CLOSE) objects.pop()
    else if (code === QUOTE) {
      const start = at
      let escaped = false
      for (at++; text.charCodeAt(at) !== QUOTE; at++) {
        if (text.charCodeAt(at) !== BACKSLASH) continue
        escaped = true
        at++
      }
      let next = at + 1
      while (isSpace(text.charCodeAt(next))) next++
      if (text.charCodeAt(next) !== COLON) continue
      const key = escaped ? (JSON.parse(text.slice(start, at + 1)) as string) : text.slice(start + 1, at)
      const keys = objects.at(-1)
      if (keys?.has(key)) return key
      keys?.add(key)
    }
  }
  return undefined
}
