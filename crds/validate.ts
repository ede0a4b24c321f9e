// Validates an AgentAccess as an API server does: schema, defaults, list types, CEL rules. Messages follow the API server's,
// so that what is refused here reads the same there.
import { Environment } from '@marcbachmann/cel-js'
import { Ajv, type ErrorObject } from 'ajv'
import type { AgentAccess } from './agentaccess.generated.ts'
import { agentAccessSchema, apiVersion, kind, type StructuralSchema } from './schema.ts'

export interface FieldError {
  /** Keys and indexes from the top of the object. */
  path: (string | number)[]
  /** `spec.agents[0].name: Required value`. */
  message: string
}

export type Validated = { value: AgentAccess } | { errors: FieldError[] }

export function formatPath(path: readonly (string | number)[]): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('')
}

export function fieldError(path: (string | number)[], message: string): FieldError {
  return { path, message: path.length === 0 ? message : `${formatPath(path)}: ${message}` }
}

const NAME = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'
const ajv = new Ajv({ allErrors: true, useDefaults: true, strict: false, verbose: true, formats: { int32: true, int64: true, 'date-time': true } })
const check = ajv.compile(
  closed({
    ...agentAccessSchema,
    required: ['apiVersion', 'kind', 'metadata', 'spec'],
    properties: {
      ...agentAccessSchema.properties,
      apiVersion: { type: 'string', enum: [apiVersion] },
      kind: { type: 'string', enum: [kind] },
      metadata: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { type: 'string', minLength: 1, maxLength: 63, pattern: NAME },
          namespace: { type: 'string', minLength: 1, maxLength: 63, pattern: NAME, default: 'default' },
          labels: { type: 'object', additionalProperties: { type: 'string' } },
          annotations: { type: 'object', additionalProperties: { type: 'string' } },
        },
      },
    },
  }),
)

/** Every field that is not in the schema is an error: what is misspelt must not be ignored. */
function closed(schema: StructuralSchema): StructuralSchema {
  const out: StructuralSchema = { ...schema }
  if (schema.properties) {
    out.properties = Object.fromEntries(Object.entries(schema.properties).map(([name, property]) => [name, closed(property)]))
    Object.assign(out, { additionalProperties: false })
  }
  if (schema.items) out.items = closed(schema.items)
  return out
}

/** Returns a copy with defaults filled in, or all that is wrong. */
export function validateAgentAccess(manifest: unknown): Validated {
  const value: unknown = structuredClone(manifest)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { errors: [fieldError([], 'the manifest is not an object')] }
  const valid: boolean = check(value)
  if (!valid) return { errors: unique((check.errors ?? []).map(describe)) }
  const errors = [...walk(agentAccessSchema, value, [])]
  return errors.length > 0 ? { errors } : { value: value as unknown as AgentAccess }
}

const unique = (errors: FieldError[]): FieldError[] => errors.filter((error, i) => errors.findIndex((other) => other.message === error.message) === i)

function pathOf({ instancePath }: ErrorObject): (string | number)[] {
  const parts = instancePath.split('/').slice(1)
  return parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part.replaceAll('~1', '/').replaceAll('~0', '~')))
}

const TYPE_NAMES = new Map([
  ['boolean', 'boolean'],
  ['number', 'number'],
  ['string', 'string'],
])

function describe(error: ErrorObject): FieldError {
  const path = pathOf(error)
  const at = formatPath(path)
  const params = error.params as Record<string, unknown>
  const shown = JSON.stringify(error.data)
  switch (error.keyword) {
    case 'required':
      return fieldError([...path, String(params.missingProperty)], 'Required value')
    case 'additionalProperties':
      return {
        path: [...path, String(params.additionalProperty)],
        message: `unknown field ${JSON.stringify(formatPath([...path, String(params.additionalProperty)]))}`,
      }
    case 'enum':
      return fieldError(
        path,
        `Unsupported value: ${shown}: supported values: ${(params.allowedValues as unknown[]).map((allowed) => JSON.stringify(allowed)).join(', ')}`,
      )
    case 'type': {
      const actual = error.data === null ? 'null' : Array.isArray(error.data) ? 'array' : (TYPE_NAMES.get(typeof error.data) ?? 'object')
      return fieldError(path, `Invalid value: "${actual}": ${at} in body must be of type ${String(params.type)}: "${actual}"`)
    }
    case 'minimum':
      return fieldError(path, `Invalid value: ${shown}: ${at} in body should be greater than or equal to ${String(params.limit)}`)
    case 'maximum':
      return fieldError(path, `Invalid value: ${shown}: ${at} in body should be less than or equal to ${String(params.limit)}`)
    case 'minLength':
      return fieldError(path, `Invalid value: ${shown}: ${at} in body should be at least ${String(params.limit)} chars long`)
    case 'maxLength':
      return fieldError(path, `Too long: may not be more than ${String(params.limit)} bytes`)
    case 'pattern':
      return fieldError(path, `Invalid value: ${shown}: ${at} in body should match '${String(params.pattern)}'`)
    case 'minItems':
      return fieldError(path, `Invalid value: ${(error.data as unknown[]).length}: ${at} in body should have at least ${String(params.limit)} items`)
    case 'maxItems':
      return fieldError(path, `Too many: ${(error.data as unknown[]).length}: must have at most ${String(params.limit)} items`)
    case 'minProperties':
      return fieldError(
        path,
        `Invalid value: ${Object.keys(error.data as object).length}: ${at} in body should have at least ${String(params.limit)} properties`,
      )
    case 'maxProperties':
      return fieldError(path, `Too many: ${Object.keys(error.data as object).length}: must have at most ${String(params.limit)} items`)
    default:
      return fieldError(path, `Invalid value: ${shown}: ${error.message ?? error.keyword}`)
  }
}

const environment = new Environment({ unlistedVariablesAreDyn: true })

/** What the schema says beyond types: list types and CEL rules, at every place of the value. */
function* walk(schema: StructuralSchema, value: unknown, path: (string | number)[]): Iterable<FieldError> {
  if (value === undefined) return
  for (const { rule, message } of schema['x-kubernetes-validations'] ?? []) {
    if (environment.evaluate(rule, { self: value }) !== true)
      // Since Kubernetes 1.36 without the value where it is an object or a list.
      yield fieldError(path, `Invalid value: ${typeof value === 'object' ? '' : `${JSON.stringify(value)}: `}${message}`)
  }
  if (Array.isArray(value)) {
    yield* duplicates(schema, value, path)
    for (const [i, item] of value.entries()) if (schema.items) yield* walk(schema.items, item, [...path, i])
  } else if (typeof value === 'object' && value !== null) {
    for (const [name, property] of Object.entries(schema.properties ?? {})) yield* walk(property, (value as Record<string, unknown>)[name], [...path, name])
  }
}

function* duplicates(schema: StructuralSchema, list: unknown[], path: (string | number)[]): Iterable<FieldError> {
  const keys = schema['x-kubernetes-list-map-keys']
  if (schema['x-kubernetes-list-type'] !== 'set' && !keys) return
  const seen = new Set<string>()
  for (const [i, item] of list.entries()) {
    const identity = JSON.stringify(keys ? Object.fromEntries(keys.map((key) => [key, (item as Record<string, unknown>)[key]])) : item)
    if (seen.has(identity)) yield fieldError([...path, i], `Duplicate value: ${identity}`)
    seen.add(identity)
  }
}
