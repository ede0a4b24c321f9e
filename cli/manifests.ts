// Reads manifests as `kubectl apply -f` does: files with one or more documents, AgentAccess and Secret.
import { readFileSync } from 'node:fs'
import { LineCounter, parseAllDocuments, type Document } from 'yaml'
import { validateAgentAccess, type AgentAccess, type FieldError } from '@agentaccess/crds'
import { compileAccess, expressionErrors } from '@agentaccess/operator/compile'
import type { AccessConfig } from '@agentaccess/proxy'

/** The question is wrong: the message says what, where, and what to do. Exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

interface Located {
  document: Document
  lines: LineCounter
  file: string
}

interface LoadedAccess extends Located {
  access: AgentAccess
}

/** An access with what is compiled of it. */
export interface LoadedPolicy {
  access: AgentAccess
  config: AccessConfig
}

/** Reads, validates and compiles every AgentAccess of the files. @throws UsageError naming every mistake, with file and line. */
export const loadAccesses = (files: readonly string[]): AccessConfig[] => load(files, false).map(({ config }) => config)

/** As loadAccesses, but Secrets need not be there: what is missing of them stays empty. */
export const loadPolicies = (files: readonly string[]): LoadedPolicy[] => load(files, true)

function load(files: readonly string[], withoutSecrets: boolean): LoadedPolicy[] {
  const accesses: LoadedAccess[] = []
  const secrets = new Map<string, Map<string, Buffer>>()
  const errors: string[] = []
  for (const file of files) {
    for (const located of readDocuments(file)) {
      const manifest: unknown = located.document.toJS()
      if (manifest === null) continue
      switch (kindOf(manifest)) {
        case 'AgentAccess': {
          const validated = validateAgentAccess(manifest)
          if ('errors' in validated) errors.push(...validated.errors.map((error) => locate(located, error)))
          else accesses.push({ ...located, access: validated.value })
          break
        }
        case 'Secret':
          readSecret(manifest as SecretManifest, secrets)
          break
        default:
          errors.push(`${where(located, [])}: kind ${JSON.stringify(kindOf(manifest) ?? null)} is not known here: expected AgentAccess or Secret`)
      }
    }
  }
  const loaded: LoadedPolicy[] = []
  for (const located of accesses) {
    const { access } = located
    const compiled = compileAccess(access, (name) => secrets.get(`${access.metadata.namespace}/${name}`) ?? (withoutSecrets ? anything : undefined))
    if ('errors' in compiled) errors.push(...compiled.errors.map((error) => locate(located, error)))
    else {
      errors.push(...expressionErrors(compiled.config).map((error) => locate(located, error)))
      loaded.push({ access, config: compiled.config })
    }
  }
  errors.push(...acrossAccesses(loaded.map(({ config }) => config)))
  if (errors.length > 0) throw new UsageError(errors.join('\n'))
  if (loaded.length === 0) throw new UsageError(`no AgentAccess in ${files.join(', ')}`)
  return loaded
}

/** Stands for a Secret that need not be there. */
const anything = { get: () => Buffer.from('(not known here)') }

function acrossAccesses(configs: AccessConfig[]): string[] {
  const names = configs.map(({ namespace, name }) => `${namespace}/${name}`)
  const twice = names.filter((name, i) => names.indexOf(name) !== i).map((name) => `access ${name} is given twice`)
  const namespaces = [...new Set(configs.map(({ namespace }) => namespace))]
  return namespaces.length > 1
    ? [...twice, `the accesses are in several namespaces (${namespaces.join(', ')}): a proxy, and so serve, has one; run serve once for each`]
    : twice
}

function* readDocuments(file: string): Iterable<Located> {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`${file} can't be read: ${error instanceof Error ? error.message : String(error)}`)
  }
  const lines = new LineCounter()
  for (const document of parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true })) {
    const [error] = document.errors
    if (error) throw new UsageError(`${file}:${error.linePos?.[0].line ?? 1}: not YAML: ${error.message.split('\n')[0]}`)
    yield { document, lines, file }
  }
}

/** The line of a field, or of the nearest one above it that is there. */
function where({ document, lines, file }: Located, path: (string | number)[]): string {
  for (let depth = path.length; depth >= 0; depth--) {
    const node: unknown = depth === 0 ? document.contents : document.getIn(path.slice(0, depth), true)
    const range = typeof node === 'object' && node !== null && 'range' in node ? (node.range as [number, number, number] | null) : null
    if (range) return `${file}:${lines.linePos(range[0]).line}`
  }
  return file
}

const locate = (located: Located, error: FieldError) => `${where(located, error.path)}: ${error.message}`

const kindOf = (manifest: unknown): unknown => (typeof manifest === 'object' && manifest !== null && 'kind' in manifest ? manifest.kind : undefined)

interface SecretManifest {
  metadata?: { name?: string; namespace?: string }
  data?: Record<string, string>
  stringData?: Record<string, string>
}

function readSecret({ metadata, data, stringData }: SecretManifest, secrets: Map<string, Map<string, Buffer>>): void {
  const values = new Map<string, Buffer>()
  for (const [key, value] of Object.entries(data ?? {})) values.set(key, Buffer.from(value, 'base64'))
  for (const [key, value] of Object.entries(stringData ?? {})) values.set(key, Buffer.from(value))
  secrets.set(`${metadata?.namespace ?? 'default'}/${metadata?.name ?? ''}`, values)
}
