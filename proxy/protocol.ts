// The seam between the proxy and a protocol. A protocol decodes commands and results; who the agent is, what is decided
// and how it is recorded is the same for all.
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { AccessConfig } from './config.ts'
import type { Policy } from './decide/policy.ts'
import type { Agents } from './identify/agents.ts'
import type { Attestation } from './identify/attestation.ts'
import type { Door } from './record/door.ts'
import type { Recorder } from './record/recorder.ts'
import type { Redactor } from './record/redactor.ts'
import type { Sessions } from './sessions.ts'

/** TLS as the proxy offers it to agents. */
export interface ServerTls {
  context(): SecureContext
  /** Whether a CA for client certificates is configured. */
  clientCertificates: boolean
}

/** The other proxies that agents may reach by the same address. */
export interface Peers {
  /** This one's number among them, from 0. */
  own: number
  hostOf: (ordinal: number) => string
}

/** Short-lived tokens of the ServiceAccounts that accesses inject. */
export interface InjectedTokens {
  /** One that is good for some time yet. @throws where the cluster gives none */
  tokenOf(serviceAccount: { namespace: string; name: string }): Promise<string>
}

/** What the accesses of a proxy share. */
export interface Services {
  tls?: ServerTls
  /** The cluster's word for ServiceAccounts and pods; without it no such agent gets in. */
  attestation?: Attestation
  /** Without it, no access injects a ServiceAccount. */
  tokens?: InjectedTokens
  peers?: Peers
  measure?: Measure
}

/** Told of a part of what happens, in seconds: how long a decision takes, and how long a command's bytes are with the proxy before they go on. */
export type Measure = (what: 'decision' | 'added', access: string, seconds: number) => void

/** All that serving one access needs. */
export interface Access {
  readonly config: AccessConfig
  readonly policy: Policy
  readonly agents: Agents
  readonly sessions: Sessions
  /** Records what did not become a session. */
  readonly door: Door
  readonly recorder: Recorder
  readonly redactor: Redactor
  readonly tls: ServerTls | undefined
  readonly tokens?: InjectedTokens | undefined
  readonly peers?: Peers | undefined
  readonly measure?: Measure | undefined
}

export interface Protocol {
  readonly kind: AccessConfig['target']['kind']
  readonly defaultPort: number
  /** Serves one connection to its end. Never rejects: what goes wrong is told to the client and recorded. */
  serve(socket: Socket, access: Access): Promise<void>
  /** Tries the target with the credentials that sessions will use. Why it can't be used; undefined where it can. */
  probe(target: AccessConfig['target'], tokens?: InjectedTokens): Promise<TargetProblem | undefined>
}

export interface TargetProblem {
  /** A reason as conditions have them. */
  reason: 'Unreachable' | 'TLSFailed' | 'CredentialsRefused' | 'Refused'
  message: string
}
