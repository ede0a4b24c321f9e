// The body of a request: what rules see of it, and what of it is recorded.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
import { parseDocument } from 'yaml'
import { sha256Hex } from '@agentaccess/recording'
import type { RequestInfo } from './request-info.ts'
import { PROTOBUF_MAGIC, readProtobuf } from './protobuf.ts'
import { parseStrictJson } from './strict-json.ts'

export interface Body {
  /** What it says; an empty map where there is none, or none that can be read. */
  value: unknown
  /** Of the object that it is. */
  name: string
  labels: Record<string, string>
  /** Why it can't be read. */
  unreadable?: string
  /** It can't be read, but for name and labels. */
  opaque?: boolean
  /** It names what only the recorder uses: its Secrets, volumes, ServiceAccount; where it says where a Service leads, a Service of its own. */
  namesRecorder?: boolean
  /** Event attributes. */
  attributes: Record<string, unknown>
}

export const NO_BODY: Body = { value: {}, name: '', labels: {}, attributes: {} }
const REDACTED = '[REDACTED]'
/** Where kubectl keeps a copy of the whole object. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'
const MAX_ALIASES = 100
const utf8 = new TextDecoder('utf-8', { fatal: true })

/** `record`: whether more of it than size and hash may be in the record. */
export function readBody(bytes: Buffer, contentType: string, info: RequestInfo, record: boolean): Body {
  if (bytes.length === 0) return NO_BODY
  const attributes: Record<string, unknown> = { 'http.request.body.size': bytes.length }
  // A short secret could be guessed from its hash.
  if (info.resource !== 'secrets') attributes['agentaccess.request.body.sha256'] = sha256Hex(bytes)
  const mediaType = contentType.split(';')[0]!.trim().toLowerCase()
  // Not the API server's to read: what is sent to a pod, a Service or a node through it.
  if (info.resource === '' || info.subresource === 'proxy') return { ...NO_BODY, attributes }
  const ofRecorder = info.resource === 'endpointslices' ? SERVICES : RECORDER
  let value: unknown
  try {
    // What it is, the API server tells from its first bytes, too.
    if (mediaType.endsWith('protobuf') || bytes.subarray(0, PROTOBUF_MAGIC.length).equals(PROTOBUF_MAGIC)) {
      const { name, labels, apiVersion, kind } = readProtobuf(bytes)
      return {
        value: {},
        name,
        labels,
        opaque: true,
        namesRecorder: ofRecorder.inBytes.test(bytes.toString('latin1')),
        attributes: { ...attributes, 'agentaccess.request.kind': `${apiVersion}/${kind}` },
      }
    }
    if (mediaType.endsWith('yaml')) value = parseStrictYaml(bytes)
    else if (mediaType === '' || mediaType === 'application/json' || mediaType.endsWith('+json')) value = parseStrictJson(bytes)
    else throw new SyntaxError(`its media type is ${mediaType}`)
  } catch (error) {
    return {
      ...NO_BODY,
      namesRecorder: ofRecorder.inBytes.test(bytes.toString('latin1')),
      unreadable: `the body can't be read: ${error instanceof Error ? error.message : String(error)}`,
      attributes,
    }
  }
  if (record) attributes['agentaccess.request.body'] = JSON.stringify(withoutSecrets(value, info))
  const metadata = isObject(value) && isObject(value.metadata) ? value.metadata : {}
  return {
    value,
    name: typeof metadata.name === 'string' ? metadata.name : '',
    labels: labelsOf(metadata.labels),
    namesRecorder: names(value, ofRecorder.whole),
    attributes,
  }
}

/** JSON is YAML, too. @throws SyntaxError */
function parseStrictYaml(bytes: Buffer): unknown {
  try {
    return parseStrictJson(bytes)
  } catch (error) {
    if (bytes[0] === 0x7b) throw error
  }
  const [value, older] = (['1.2', '1.1'] as const).map((version) => readYaml(utf8.decode(bytes), version))
  // Merge keys, `yes`, numbers in octal: Go's decoder has some of 1.1 and some of 1.2.
  if (JSON.stringify(value) !== JSON.stringify(older)) throw new SyntaxError('it means one thing in YAML 1.1 and another in 1.2')
  return value
}

function readYaml(text: string, version: '1.1' | '1.2'): unknown {
  const document = parseDocument(text, { version, uniqueKeys: true, strict: true })
  const [problem] = [...document.errors, ...document.warnings]
  if (problem) throw new SyntaxError(problem.message.split('\n')[0])
  return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown
}

type JsonObject = Record<string, unknown>
const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Values of Secrets and tokens stand for themselves nowhere. */
function withoutSecrets(value: unknown, { group, resource, subresource }: RequestInfo): unknown {
  const ofSecrets = group === '' && resource === 'secrets'
  // A JSON patch says nothing of the kind.
  if (ofSecrets && Array.isArray(value)) return value.map((step: unknown) => (isObject(step) && 'value' in step ? { ...step, value: REDACTED } : step))
  if (ofSecrets && isObject(value)) return secretWithoutValues(value)
  if ((group === 'authentication.k8s.io' && resource === 'tokenreviews') || subresource === 'token') return withoutKey(value, 'token')
  return withoutSecretObjects(value)
}

/** Also in a List, and wherever else one object may hold another. */
function withoutSecretObjects(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecretObjects)
  if (!isObject(value)) return value
  if (value.kind === 'Secret' && value.apiVersion === 'v1') return secretWithoutValues(value)
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, withoutSecretObjects(inner)]))
}

function secretWithoutValues(secret: JsonObject): JsonObject {
  const out: JsonObject = { ...secret }
  for (const field of ['data', 'stringData']) {
    const values = out[field]
    if (isObject(values)) out[field] = Object.fromEntries(Object.keys(values).map((key) => [key, REDACTED]))
    else if (values !== undefined && values !== null) out[field] = REDACTED
  }
  const { metadata } = out
  if (isObject(metadata) && isObject(metadata.annotations) && LAST_APPLIED in metadata.annotations)
    out.metadata = { ...metadata, annotations: { ...metadata.annotations, [LAST_APPLIED]: REDACTED } }
  return out
}

function withoutKey(value: unknown, key: string): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutKey(item, key))
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, name === key ? REDACTED : withoutKey(inner, key)]))
}

/** operator/desired/names.ts: a whole string, and what is looked for where strings can't be told apart. */
interface Names {
  whole: RegExp
  inBytes: RegExp
}
/** What a workload could be given to reach the recorder by. */
const RECORDER: Names = {
  whole: /^(?:agentaccess-(?:proxy|operator)(?:-.*)?|agentaccess-access-.*|spool-agentaccess-.*)$/,
  inBytes: /agentaccess-(?:proxy|operator|access-)|spool-agentaccess-/,
}
/** What an EndpointSlice could be given to stand in for it. */
const SERVICES: Names = { whole: /-agentaccess$/, inBytes: /-agentaccess/ }

function names(value: unknown, what: RegExp): boolean {
  if (typeof value === 'string') return what.test(value)
  return typeof value === 'object' && value !== null && Object.values(value).some((item) => names(item, what))
}

function labelsOf(labels: unknown): Record<string, string> {
  return isObject(labels) ? Object.fromEntries(Object.entries(labels).filter((entry): entry is [string, string] => typeof entry[1] === 'string')) : {}
}

/** Verbs that heed `dryRun`; anything else does what it says. */
const IN_QUERY: ReadonlySet<string> = new Set(['create', 'update', 'patch'])
const DELETES: ReadonlySet<string> = new Set(['delete', 'deletecollection'])

/** Whether nothing will be kept of what the request does. DeleteOptions in the body stand in place of the query's. */
export function isDryRun(verb: string, { subresource }: RequestInfo, query: URLSearchParams, body: Body): boolean {
  if (subresource !== '' && subresource !== 'status' && subresource !== 'scale') return false
  if (IN_QUERY.has(verb)) return query.get('dryRun') === 'All'
  if (!DELETES.has(verb) || body.unreadable !== undefined || body.opaque) return false
  if (!('http.request.body.size' in body.attributes)) return query.get('dryRun') === 'All'
  const { dryRun } = isObject(body.value) ? body.value : {}
  return Array.isArray(dryRun) && dryRun.length === 1 && dryRun[0] === 'All'
}
