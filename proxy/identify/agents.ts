// Who an agent is, from what it presented. A proof that was presented and is wrong is final: there is no falling through
// to a weaker one. ServiceAccount, OIDC, SSH key and calling pod join here, each a proof of its own.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { AccessConfig, AgentConfig, Proof } from '../config.ts'
import { scramSecret, type ScramSecret } from './scram.ts'

export interface Identity {
  agent: string
  proof: Proof
  /** Attested: the proxy checked it. Claimed: the client said so. */
  standing: 'attested' | 'claimed'
}

export type Identified = { identity: Identity } | { refusal: string }

/** A client certificate as TLS left it. */
export interface PresentedCertificate {
  commonName: string | undefined
  /** Why it does not verify against the CA of the agents; undefined where it does. */
  invalid: string | undefined
}

const digest = (text: string) => createHash('sha256').update(text).digest()

export class Agents {
  readonly #agents: readonly AgentConfig[]
  readonly #secrets = new Map<string, Promise<ScramSecret>>()

  constructor(access: AccessConfig) {
    this.#agents = access.agents
  }

  named(name: string): AgentConfig | undefined {
    return this.#agents.find((agent) => agent.name === name)
  }

  /** What SCRAM compares an agent's token with. */
  scramSecret(agent: AgentConfig): Promise<ScramSecret> | undefined {
    if (agent.token === undefined) return undefined
    let secret = this.#secrets.get(agent.name)
    if (!secret) {
      secret = scramSecret(agent.token)
      this.#secrets.set(agent.name, secret)
    }
    return secret
  }

  byCertificate(certificate: PresentedCertificate, agent?: AgentConfig): Identified {
    if (certificate.invalid !== undefined) return { refusal: `the client certificate does not verify: ${certificate.invalid}` }
    const matching = this.#agents.filter(({ clientCertificate }) => clientCertificate !== undefined && clientCertificate.commonName === certificate.commonName)
    const [found] = matching
    if (!found || matching.length > 1 || (agent && agent !== found))
      return {
        refusal: `the client certificate's common name, ${certificate.commonName ?? '(none)'}, is ${agent ? `not that of agent ${agent.name}` : 'no agent of this access'}`,
      }
    return { identity: { agent: found.name, proof: 'client certificate', standing: 'attested' } }
  }

  /** By a shared token, whoever it belongs to. None, or more than one match: refused. */
  byToken(token: string): Identified {
    const presented = digest(token)
    // Every agent is compared, each in constant time: how long it takes says nothing.
    const matching = this.#agents.filter((agent) => agent.token !== undefined && timingSafeEqual(digest(agent.token), presented))
    const [found] = matching
    if (!found || matching.length > 1)
      return { refusal: matching.length > 1 ? 'the token is that of more than one agent' : 'the token is that of no agent of this access' }
    return tokenIdentity(found.name)
  }
}

export const tokenIdentity = (agent: string): Identified => ({ identity: { agent, proof: 'shared token', standing: 'attested' } })
