// The AgentAccess CRD's schema, read from the one file that defines it.
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'

/** A structural schema (Kubernetes API conventions): the part of OpenAPI v3 that a CRD may use. */
export interface StructuralSchema {
  description?: string
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean'
  properties?: Record<string, StructuralSchema>
  additionalProperties?: StructuralSchema
  items?: StructuralSchema
  required?: string[]
  enum?: unknown[]
  default?: unknown
  'x-kubernetes-validations'?: { rule: string; message: string }[]
  'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map'
  'x-kubernetes-list-map-keys'?: string[]
  [keyword: string]: unknown
}

interface CustomResourceDefinition {
  spec: { group: string; names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: StructuralSchema } }[] }
}

export const crdPath: URL = new URL('./agentaccess.yaml', import.meta.url)

const crd = parse(readFileSync(crdPath, 'utf8')) as CustomResourceDefinition
const [version] = crd.spec.versions

export const apiVersion = `${crd.spec.group}/${version!.name}`
export const kind: string = crd.spec.names.kind
export const agentAccessSchema: StructuralSchema = version!.schema.openAPIV3Schema
