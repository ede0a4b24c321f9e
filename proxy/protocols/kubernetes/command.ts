// A request as a command: what the record, and what rules, are told of it.
import { noFacts, unreadableBody, type CommandFacts } from '../../decide/facts.ts'
import type { BuiltInDeny } from '../../decide/policy.ts'
import type { Understood } from '../../session.ts'
import { isDryRun, type Body } from './body.ts'
import { builtInDeny } from './built-in-denies.ts'
import { commandVerb, type RequestInfo } from './request-info.ts'

export interface Asked {
  method: string
  /** As it goes to the API server, without the query. */
  path: string
  query: URLSearchParams
  info: RequestInfo
  userAgent: string | undefined
}

/** Of a stream: what a pod is asked to run, and in which container. */
const LISTED = ['command', 'container', 'stdin', 'stdout', 'stderr', 'tty', 'ports'] as const

export interface Command {
  attributes: Record<string, unknown>
  understood: Understood
}

export function commandOf({ method, path, query, info, userAgent }: Asked, body: Body, auditId: string): Command {
  const verb = commandVerb(info)
  const dryRun = isDryRun(verb, info, query, body)
  // Decoded: what is to be redacted is found in what it means, not in how it was written.
  const search = [...query].map(([name, value]) => `${name}=${value}`).join('&')
  const text = `${verb} ${path}${search === '' ? '' : `?${search}`}`
  const fieldManager = query.get('fieldManager')
  const attributes: Record<string, unknown> = {
    'agentaccess.command.text': text,
    'agentaccess.operations': [verb],
    'http.request.method': method,
    'url.path': path,
    ...(search === '' ? {} : { 'url.query': search }),
    ...(info.resource === '' ? {} : resourceAttributes(info)),
    ...(dryRun ? { 'agentaccess.kubernetes.dry_run': true } : {}),
    ...(fieldManager ? { 'agentaccess.kubernetes.field_manager': fieldManager } : {}),
    ...(userAgent === undefined ? {} : { 'user_agent.original': userAgent }),
    ...streamAttributes(verb, query),
    ...(auditId === '' ? {} : { 'agentaccess.kubernetes.audit_id': auditId }),
    ...body.attributes,
  }
  // What is created is named in the body only.
  const name = info.name === '' && verb === 'create' ? body.name : info.name
  const facts: CommandFacts = {
    ...noFacts,
    operations: [verb],
    verb,
    group: info.group,
    version: info.version,
    resource: info.resource,
    subresource: info.subresource,
    namespace: info.namespace,
    name,
    labels: body.labels,
    dryRun,
    body: body.opaque ? unreadableBody('the body is protobuf, of which only name and labels can be read') : body.value,
  }
  const builtIn: BuiltInDeny | undefined = builtInDeny({ ...info, name }, query, body.namesRecorder === true)
  return { attributes, understood: { text, facts, parameters: () => query.getAll('command'), builtIn, unreadable: body.unreadable } }
}

function resourceAttributes({ group, version, resource, subresource, namespace, name }: RequestInfo): Record<string, string> {
  const attributes: Record<string, string> = { 'agentaccess.kubernetes.group': group }
  if (version !== '') attributes['agentaccess.kubernetes.version'] = version
  attributes['agentaccess.kubernetes.resource'] = resource
  if (subresource !== '') attributes['agentaccess.kubernetes.subresource'] = subresource
  if (namespace !== '') attributes['agentaccess.kubernetes.namespace'] = namespace
  if (name !== '') attributes['agentaccess.kubernetes.name'] = name
  return attributes
}

function streamAttributes(verb: string, query: URLSearchParams): Record<string, unknown> {
  if (verb !== 'exec' && verb !== 'attach' && verb !== 'portforward') return {}
  return Object.fromEntries(
    LISTED.flatMap((name) => {
      const values = query.getAll(name)
      if (values.length === 0) return []
      return [[`agentaccess.kubernetes.stream.${name}`, name === 'command' || name === 'ports' ? values : values[0]]]
    }),
  )
}
