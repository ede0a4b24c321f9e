// What a rule can see of a command and who sent it.

/** What a protocol understood of a command. One vocabulary for every protocol: docs/policy.md says what each is. */
export interface CommandFacts {
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

/** What a rule can see. */
export interface Facts {
  command: CommandFacts & { text: string; parameters: readonly string[] }
  agent: { name: string; proof: string }
  task: string
  target: { kind: string; host: string; port: number; database: string }
  session: { id: string; commands: number; denied: number; errors: number; rows: number }
  now: Date
}

/** Of a command that names nothing. */
export const noFacts: CommandFacts = { operations: [], tables: [], reads: [], writes: [], columns: [], functions: [], roles: [], settings: [], opaque: [] }
