// Which paths are let through: those that policy and the API server read alike. Go's server cleans paths, decodes them and
// redirects; what could be read in two ways is refused, not repaired.

export type ApiPath = { path: string; query: URLSearchParams; search: string; task: string | undefined } | { refused: string }

const TASK = /^\/tasks\/([^/]+)(\/.*)?$/
const LONGEST = 8192
const MAX_TASK = 256

/** `url`: the request target as it came (RFC 9112, 3.2): in origin form only. `/tasks/<id>` in front of it is the agent's claim. */
export function apiPath(url: string): ApiPath {
  if (url.length > LONGEST) return { refused: `the request target has ${url.length} characters, and may have ${LONGEST}` }
  if (!url.startsWith('/')) return { refused: 'the request target must be a path' }
  // oxlint-disable-next-line no-control-regex -- that is what it is for
  if (/[^\x21-\x7e]|[\\#]/.test(url)) return { refused: 'the request target has a character that must be encoded' }
  const mark = url.indexOf('?')
  const search = mark === -1 ? '' : url.slice(mark)
  let path = mark === -1 ? url : url.slice(0, mark)
  let task: string | undefined
  const claimed = TASK.exec(path)
  if (claimed) {
    task = decoded(claimed[1]!)
    if (task === undefined || task.length > MAX_TASK) return { refused: 'the task in the path can not be read' }
    path = claimed[2] ?? '/'
  }
  const segments = path.split('/').slice(1)
  for (const [i, segment] of segments.entries()) {
    const text = decoded(segment)
    if (text === undefined) return { refused: 'the path has an invalid escape' }
    if (text.includes('/') || text.includes('\\')) return { refused: 'the path has an encoded slash' }
    if (text === '.' || text === '..') return { refused: 'the path has a dot segment' }
    // One at the end is how a directory is asked for: of a proxied service, or of discovery.
    if (text === '' && i < segments.length - 1) return { refused: 'the path has an empty segment' }
    // Letters and digits need no escape: one that has it is there to be read in two ways.
    if (/%(?:2d|2e|5f|7e|3[0-9]|[46][1-9a-f]|[57][0-9a])/i.test(segment)) return { refused: 'the path has an escape where none is needed' }
  }
  // Go drops what has one of these, others read it as it stands.
  if (search.includes(';') || /%(?![0-9a-f]{2})/i.test(search)) return { refused: 'the query has a semicolon or an escape that is none' }
  const query = new URLSearchParams(search)
  // Which of two is meant, is a matter of who reads it.
  for (const name of SINGLE) if (query.getAll(name).length > 1) return { refused: `the query has ${name} more than once` }
  return { path, query, search, task }
}

const SINGLE = ['watch', 'fieldSelector', 'dryRun', 'fieldManager', 'container', 'stdin', 'stdout', 'stderr', 'tty'] as const

function decoded(segment: string): string | undefined {
  try {
    return decodeURIComponent(segment)
  } catch {
    return undefined
  }
}
