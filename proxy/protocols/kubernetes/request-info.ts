// What a request to an API server is about, from its method and path, as the API server itself finds it
// (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go; https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb).

export interface RequestInfo {
  /** For what is no resource: the method in small letters. */
  verb: string
  /** `api`, `apis`, or empty for what is no resource. */
  prefix: string
  group: string
  version: string
  namespace: string
  resource: string
  subresource: string
  name: string
  /** Path segments behind the subresource: of `proxy`, what is asked of the target. */
  rest: string
}

const VERBS: Record<string, string> = { POST: 'create', GET: 'get', HEAD: 'get', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }
/** Subresources of a namespace: it stands where a resource in it would. */
const OF_NAMESPACES: ReadonlySet<string> = new Set(['status', 'finalize'])
/** Verbs that may stand in a path: `/api/v1/watch/pods`, deprecated and alive; `/api/v1/proxy/…` is not. */
const SPECIAL: ReadonlySet<string> = new Set(['watch', 'proxy'])

/** Methods that the API server has. */
export const isKnownMethod = (method: string): boolean => method in VERBS || method === 'OPTIONS'

/** `path`: checked by apiPath, without the query. */
export function requestInfo(method: string, path: string, query: URLSearchParams): RequestInfo {
  const none: RequestInfo = { verb: method.toLowerCase(), prefix: '', group: '', version: '', namespace: '', resource: '', subresource: '', name: '', rest: '' }
  const parts = path.split('/').slice(1).map(decodeURIComponent)
  const [prefix] = parts
  const begin = prefix === 'api' ? 1 : prefix === 'apis' ? 2 : 0
  // `/api`, `/apis/apps/v1` and the like are discovery, which is no resource.
  if (begin === 0 || parts.length < begin + 2 || parts[begin + 1] === '') return none
  const [group, version] = prefix === 'api' ? ['', parts[1]!] : [parts[1]!, parts[2]!]
  let verb = VERBS[method] ?? method.toLowerCase()
  let rest = parts.slice(begin + 1)
  if (SPECIAL.has(rest[0]!)) {
    if (rest.length < 2) return none
    verb = rest[0]!
    rest = rest.slice(1)
  }
  let namespace = ''
  if (rest[0] === 'namespaces' && rest.length > 1) {
    namespace = rest[1]!
    if (rest.length > 2 && !OF_NAMESPACES.has(rest[2]!)) rest = rest.slice(2)
  }
  const [resource = '', name = '', subresource = '', ...further] = rest
  // A list is asked for by a name in its field selector, too.
  const selected = (query.get('fieldSelector') ?? '').split(',').flatMap((term) => /^metadata\.name={1,2}([^!=]+)$/.exec(term)?.[1] ?? [])[0]
  if (name === '') {
    if (verb === 'get') verb = isTrue(query.get('watch')) ? 'watch' : 'list'
    else if (verb === 'delete') verb = 'deletecollection'
  }
  const named = name !== '' ? name : selected !== undefined && (verb === 'list' || verb === 'watch' || verb === 'deletecollection') ? selected : ''
  return { verb, prefix: prefix!, group, version, namespace, resource, subresource, name: named, rest: further.join('/') }
}

/** As the API server reads a boolean of a query: anything but these is true. */
export const isTrue = (value: string | null): boolean => value !== null && value !== '0' && value.toLowerCase() !== 'false'

/** Subresources that open a stream into a pod: by whatever method, they do something. */
const STREAMS: ReadonlySet<string> = new Set(['exec', 'attach', 'portforward', 'proxy'])

/** What rules and people call it: a stream into a pod is a verb of its own, and so is a container that is added to one. */
export function commandVerb({ verb, resource, subresource, group }: RequestInfo): string {
  if (group === '' && resource === 'pods' && STREAMS.has(subresource)) return subresource
  if (group === '' && resource === 'pods' && subresource === 'ephemeralcontainers' && verb !== 'get') return 'debug'
  if (group === '' && (resource === 'services' || resource === 'nodes') && subresource === 'proxy') return 'proxy'
  return verb
}
