// TypeScript types of an AgentAccess as the API server gives it: defaults filled in, so that a field with one is there.
import { compile, type JSONSchema } from 'json-schema-to-typescript'
import { agentAccessSchema, type StructuralSchema } from './schema.ts'

export async function generateCrdTypes(banner: (source: string) => string): Promise<string> {
  const schema = plain(agentAccessSchema)
  schema.properties = {
    ...schema.properties,
    metadata: { type: 'object', required: ['name', 'namespace'], properties: { name: { type: 'string' }, namespace: { type: 'string' } } },
  }
  schema.required = ['apiVersion', 'kind', 'metadata', 'spec']
  return compile(schema as JSONSchema, 'AgentAccess', {
    bannerComment: banner('crds/agentaccess.yaml'),
    additionalProperties: false,
    ignoreMinAndMaxItems: true,
  })
}

/** Without Kubernetes' extensions, and with a field that has a default among the required. */
function plain(schema: StructuralSchema): StructuralSchema {
  const out: StructuralSchema = {}
  for (const [keyword, value] of Object.entries(schema)) if (!keyword.startsWith('x-kubernetes-')) out[keyword] = value
  if (schema.properties) {
    out.properties = Object.fromEntries(Object.entries(schema.properties).map(([name, property]) => [name, plain(property)]))
    const defaulted = Object.entries(schema.properties).filter(([, property]) => property.default !== undefined)
    out.required = [...(schema.required ?? []), ...defaulted.map(([name]) => name)]
  }
  if (schema.items) out.items = plain(schema.items)
  if (schema.additionalProperties) out.additionalProperties = plain(schema.additionalProperties)
  delete out.default
  return out
}
