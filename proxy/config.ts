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

/** One member for each protocol; today there is one. */
export type TargetConfig = PostgresTarget

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

/** `namespace/name`, as the record calls an access. */
export const accessKey = ({ namespace, name }: AccessConfig): string => `${namespace}/${name}`
