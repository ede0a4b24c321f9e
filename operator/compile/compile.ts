// AgentAccess and Secrets → the proxy's configuration. Pure: what is asked for and is not there comes back as an error with
// the field that asks for it.
import { createHash } from 'node:crypto'
import { fieldError, type AgentAccess, type FieldError } from '@agentaccess/crds'
import type { AccessConfig, AgentConfig, PostgresTarget, RuleConfig } from '@agentaccess/proxy/config'
import { compileKubernetes } from './kubernetes-target.ts'
import { findUnenforced, type Ability } from './unenforced.ts'

/** The data of a Secret in the access's namespace; undefined where there is none of that name. */
export type SecretLookup = (name: string) => { get(key: string): Buffer | undefined } | undefined

export type Compiled = { config: AccessConfig } | { errors: FieldError[] }

/** `access` has passed validateAgentAccess. `abilities`: what there is, where it will run, to enforce more with. */
export function compileAccess(access: AgentAccess, secret: SecretLookup, abilities: readonly Ability[] = []): Compiled {
  const errors = findUnenforced(access, abilities)
  if (errors.length > 0) return { errors }
  const read = (path: (string | number)[], name: string, key: string): string => {
    const data = secret(name)
    const value = data?.get(key)
    if (value && value.length > 0) return value.toString('utf8')
    const where = `Secret ${access.metadata.namespace}/${name}`
    const error = fieldError(
      path,
      data
        ? value
          ? `Invalid value: key ${JSON.stringify(key)} of ${where} is empty`
          : `Not found: ${where} has no key ${JSON.stringify(key)}`
        : `Not found: ${where} does not exist`,
    )
    // A Secret that is not there lacks each of its keys.
    if (!errors.includes(error)) errors.push(error)
    return ''
  }
  const { spec, metadata } = access
  const config: Omit<AccessConfig, 'revision'> = {
    namespace: metadata.namespace,
    name: metadata.name,
    agents: spec.agents.map((agent, i): AgentConfig => {
      const { token, clientCertificate, serviceAccount, oidc, name } = agent
      return {
        name,
        ...(token ? { token: read(['spec', 'agents', i, 'token', 'secretRef'], token.secretRef.name, token.secretRef.key) } : {}),
        ...(clientCertificate ? { clientCertificate: { commonName: clientCertificate.commonName } } : {}),
        ...(oidc ? { oidc: { issuer: oidc.issuer, audience: oidc.audience, subject: oidc.subject } } : {}),
        ...(serviceAccount
          ? { serviceAccount: { namespace: serviceAccount.namespace ?? metadata.namespace, name: serviceAccount.name, proofs: [...serviceAccount.proofs] } }
          : {}),
      }
    }),
    target: spec.target.kubernetes ? compileKubernetes(spec.target.kubernetes, metadata.namespace, read, errors) : compilePostgres(spec.target.postgres!, read),
    policy: { default: spec.policy.default, rules: (spec.policy.rules ?? []).map(compileRule) },
    recording: {
      parameters: spec.recording.parameters,
      durability: spec.recording.durability,
      results: spec.recording.results,
      outputCap: quantity(spec.recording.outputCap),
      redact: spec.recording.redact ?? [],
      maxCommandBytes: quantity(spec.recording.maxCommandBytes),
      spoolQuota: quantity(spec.recording.spoolQuota),
      ...(spec.recording.retention === undefined ? {} : { retentionMs: duration(spec.recording.retention) }),
    },
    suspended: spec.suspended,
  }
  // Longer, and what a message of the protocol can say of its own length is exceeded.
  if (config.recording.maxCommandBytes > MAX_COMMAND_BYTES)
    errors.push(fieldError(['spec', 'recording', 'maxCommandBytes'], `Invalid value: ${JSON.stringify(spec.recording.maxCommandBytes)}: at most 256Mi`))
  return errors.length > 0 ? { errors } : { config: { ...config, revision: revisionOf(config) } }
}

const MAX_COMMAND_BYTES = 256 * 1024 * 1024

function compilePostgres(
  postgres: NonNullable<AgentAccess['spec']['target']['postgres']>,
  read: (path: (string | number)[], name: string, key: string) => string,
): PostgresTarget {
  const path = ['spec', 'target', 'postgres']
  const { credentials, tls } = postgres
  return {
    kind: 'postgres',
    host: postgres.host,
    port: postgres.port,
    ...(postgres.database === undefined ? {} : { database: postgres.database }),
    username: read([...path, 'credentials', 'secretRef'], credentials.secretRef.name, 'username'),
    password: read([...path, 'credentials', 'secretRef'], credentials.secretRef.name, 'password'),
    tls: { mode: tls.mode, ...(tls.caSecretRef ? { ca: read([...path, 'tls', 'caSecretRef'], tls.caSecretRef.name, 'ca.crt') } : {}) },
  }
}

type Rule = NonNullable<AgentAccess['spec']['policy']['rules']>[number]

function compileRule({ name, when, action, message }: Rule): RuleConfig {
  if (action === 'RequireApproval') throw new Error('findUnenforced refuses it')
  return { name, when, action, ...(message === undefined ? {} : { message }) }
}

/** Of what the policy says: it stays the same where only a password changes. */
function revisionOf({ policy, agents, recording }: Omit<AccessConfig, 'revision'>): string {
  const identities = agents.map(({ name, clientCertificate, serviceAccount, oidc }) => ({ name, clientCertificate, serviceAccount, oidc }))
  return createHash('sha256').update(JSON.stringify({ policy, identities, recording })).digest('hex').slice(0, 16)
}

const UNITS: Record<string, number> = { '': 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 }

/** Bytes of a quantity that the schema has checked: digits, and Ki, Mi or Gi. */
function quantity(text: string): number {
  const [, digits, unit] = /^(\d+)(|Ki|Mi|Gi)$/.exec(text)!
  return Number(digits) * UNITS[unit!]!
}

const HOURS: Record<string, number> = { h: 1, d: 24 }

/** Milliseconds of a duration that the schema has checked: digits, and h or d. */
function duration(text: string): number {
  const [, digits, unit] = /^(\d+)(h|d)$/.exec(text)!
  return Number(digits) * HOURS[unit!]! * 3_600_000
}
