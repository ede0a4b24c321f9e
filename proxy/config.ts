// What a proxy is told: the output of operator/compile, and all that the data plane knows of the API.

export type Proof = 'shared token' | 'client certificate' | 'ServiceAccount token' | 'calling pod' | 'OIDC token'

export interface OidcIdentity {
  issuer: string
  audience: string
  /** A `*` stands for any text. */
  subject: string
}

export interface AgentConfig {
  name: string
  /** A shared secret. */
  token?: string
  clientCertificate?: { commonName: string }
  oidc?: OidcIdentity
  /** Its token, or the pod that calls, or either. */
  serviceAccount?: { namespace: string; name: string; proofs: ('Token' | 'Pod')[] }
}

export type TlsMode = 'Disable' | 'Require' | 'VerifyCA' | 'VerifyFull'

export interface PostgresTarget {
  kind: 'postgres'
  host: string
  port: number
  /** Undefined: what the client asks for. */
  database?: string
  username: string
  password: string
  tls: { mode: TlsMode; ca?: string }
}

/** What the proxy shows an API server in place of what the agent showed. */
export type KubernetesCredentials =
  /** By TokenRequest, where there is a cluster to ask: short-lived, renewed in time. */
  | { kind: 'serviceAccount'; namespace: string; name: string }
  | { kind: 'token'; token: string }
  /** PEM. */
  | { kind: 'certificate'; certificate: string; privateKey: string }

export interface KubernetesTarget {
  kind: 'kubernetes'
  host: string
  port: number
  /** What comes before `/api` and `/apis` in its paths; empty, or begins with a slash. */
  path: string
  /** PEM; undefined: the CAs that Node.js knows. */
  ca?: string
  /** The name in the server's certificate, where it is not `host`. */
  serverName?: string
  credentials: KubernetesCredentials
  /** Each agent acts as itself: by impersonation, for which the credentials need the right. */
  impersonate: boolean
  /** How long a session lasts in which nothing is under way. */
  sessionIdleMs: number
}

/** One member for each protocol. */
export type TargetConfig = PostgresTarget | KubernetesTarget

export type RuleAction = 'Allow' | 'Deny' | 'Alert'

export interface RuleConfig {
  name: string
  /** CEL over `command`, `agent`, `task`, `target`, `session`, `now`. */
  when: string
  action: RuleAction
  message?: string
}

export interface PolicyConfig {
  default: 'Allow' | 'Deny'
  rules: RuleConfig[]
}

export interface RecordingConfig {
  parameters: boolean
  durability: 'Written' | 'Synced'
  /** RE2 patterns: what they match is not recorded. */
  redact: string[]
  /** Full: what is answered is recorded, too. */
  results: 'Summary' | 'Full'
  /** Most bytes recorded of one command's output; of a terminal's, all are. */
  outputCap: number
  /** Bytes. */
  maxCommandBytes: number
  /** Bytes. */
  spoolQuota: number
  /** How long nobody may delete the evidence, where the store has that. */
  retentionMs?: number
}

export interface AccessConfig {
  namespace: string
  name: string
  /** Names what was compiled: in the record of every session and decision. */
  revision: string
  agents: AgentConfig[]
  target: TargetConfig
  policy: PolicyConfig
  recording: RecordingConfig
  suspended: boolean
}

/** The target of an access, which is of this kind: its protocol is called for no other. @throws TypeError */
export function targetOf<K extends TargetConfig['kind']>(target: TargetConfig, kind: K): Extract<TargetConfig, { kind: K }> {
  if (target.kind !== kind) throw new TypeError(`a target of kind ${target.kind} where one of kind ${kind} belongs`)
  return target as Extract<TargetConfig, { kind: K }>
}

/** `namespace/name`, as the record calls an access. */
export const accessKey = ({ namespace, name }: AccessConfig): string => `${namespace}/${name}`
