// What a rule can see of a command and who sent it.

/** What a protocol understood of a command. One vocabulary for every protocol: docs/policy.md says what each is. */
export interface CommandFacts extends StatementFacts, ResourceFacts {}

/** What its text names. */
export interface StatementFacts {
  operations: string[]
  tables: string[]
  reads: string[]
  writes: string[]
  columns: string[]
  functions: string[]
  roles: string[]
  settings: string[]
  opaque: string[]
}

/** What a request to a Kubernetes API server is about; empty for other targets. */
export interface ResourceFacts {
  verb: string
  group: string
  version: string
  resource: string
  subresource: string
  namespace: string
  name: string
  /** Of the object in the body. */
  labels: Record<string, string>
  dryRun: boolean
  /** The body; an empty map where there is none. */
  body: unknown
}

/** What a rule can see. */
export interface Facts {
  command: CommandFacts & { text: string; parameters: readonly string[] }
  agent: { name: string; proof: string }
  task: string
  target: { kind: string; host: string; port: number; database: string }
  session: { id: string; commands: number; denied: number; errors: number; rows: number }
  now: Date
}

/** Of a command that is about none. */
export const noResource: ResourceFacts = {
  verb: '',
  group: '',
  version: '',
  resource: '',
  subresource: '',
  namespace: '',
  name: '',
  labels: {},
  dryRun: false,
  body: {},
}

const unreadableBodies = new WeakSet()

/** A body that can't be read: a rule that looks into it fails, and what it would have been asked for is denied; others go on. */
export function unreadableBody(why: string): object {
  const fail = (): never => {
    throw new Error(why)
  }
  const body = new Proxy({}, { get: fail, has: fail, ownKeys: fail, getOwnPropertyDescriptor: fail, getPrototypeOf: fail })
  unreadableBodies.add(body)
  return body
}

export const isUnreadable = (body: unknown): boolean => typeof body === 'object' && body !== null && unreadableBodies.has(body)

/** Of a command that names nothing. */
export const noFacts: CommandFacts = {
  operations: [],
  tables: [],
  reads: [],
  writes: [],
  columns: [],
  functions: [],
  roles: [],
  settings: [],
  opaque: [],
  ...noResource,
}
