// Who an agent is, from what it presented. A proof that was presented and is wrong is final: there is no falling through
// to a weaker one. SSH keys join here, a proof of their own.
import { createHash, timingSafeEqual } from 'node:crypto'
import type { AccessConfig, AgentConfig, Proof } from '../config.ts'
import type { Attestation, ServiceAccountName } from './attestation.ts'
import { claimedIssuer, verifyOidc } from './oidc.ts'
import { scramSecret, type ScramSecret } from './scram.ts'

export interface Identity {
  agent: string
  proof: Proof
  /** Attested: the proxy checked it. Claimed: the client said so. */
  standing: 'attested' | 'claimed'
  /** When the proof ends, and the session with it; milliseconds since the epoch. */
  expires?: number
  /** The task, where the proof tells it: what the client claims is then not asked for. */
  task?: { task: string; source: string }
  /** What else the proof tells, as event attributes. */
  attributes?: Record<string, string>
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
  readonly #attestation: Attestation | undefined
  /** SHA-256 of the shared tokens. */
  readonly #digests = new Map<AgentConfig, Buffer>()
  readonly #secrets = new Map<string, Promise<ScramSecret>>()

  constructor(access: AccessConfig, attestation?: Attestation) {
    this.#agents = access.agents
    this.#attestation = attestation
    for (const agent of access.agents) if (agent.token !== undefined) this.#digests.set(agent, digest(agent.token))
  }

  /** Whether an agent may prove itself by the pod that calls. */
  get byPod(): boolean {
    return this.#agents.some(({ serviceAccount }) => serviceAccount?.proofs.includes('Pod'))
  }

  /** Whether an agent may prove itself by something that is presented as a password. */
  get byPassword(): boolean {
    return this.#agents.some(({ token, oidc, serviceAccount }) => token !== undefined || oidc !== undefined || serviceAccount?.proofs.includes('Token'))
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

  /**
   * By a token that was presented: a ServiceAccount's, or a shared one. `agent`: only that one's. None, or more than one
   * match: refused.
   */
  async byToken(presented: string, agent?: AgentConfig): Promise<Identified> {
    const candidates = agent ? [agent] : this.#agents
    const hashed = digest(presented)
    // Every agent is compared, each in constant time: how long it takes says nothing.
    const matching = candidates.filter((candidate) => {
      const own = this.#digests.get(candidate)
      return own !== undefined && timingSafeEqual(own, hashed)
    })
    const [found] = matching
    if (matching.length > 1) return { refusal: 'the token is that of more than one agent' }
    if (found) return tokenIdentity(found.name)
    const issuer = claimedIssuer(presented)
    const issued = candidates.filter(({ oidc }) => oidc !== undefined && oidc.issuer === issuer)
    if (issued.length > 0) return byIssuer(presented, issued)
    if (!this.#attestation || !candidates.some(({ serviceAccount }) => serviceAccount?.proofs.includes('Token')))
      return { refusal: 'the token is that of no agent of this access' }
    const reviewed = await this.#attestation.reviewToken(presented)
    if ('refusal' in reviewed) return reviewed
    const { serviceAccount, expires, pod, by } = reviewed
    return this.#ofServiceAccount(candidates, 'Token', serviceAccount, {
      proof: 'ServiceAccount token',
      expires,
      attributes: { 'agentaccess.agent.reviewed_by': by, ...(pod === undefined ? {} : { 'k8s.pod.name': pod }) },
    })
  }

  /** By the pod that calls from this address. `agent`: only that one's. */
  async byCallingPod(address: string, agent?: AgentConfig): Promise<Identified> {
    const candidates = (agent ? [agent] : this.#agents).filter(({ serviceAccount }) => serviceAccount?.proofs.includes('Pod'))
    if (!this.#attestation) return { refusal: 'there is no cluster to ask whose pod calls' }
    const namespaces = [...new Set(candidates.map(({ serviceAccount }) => serviceAccount!.namespace))]
    const calling = await this.#attestation.callingPod(address, namespaces)
    if ('refusal' in calling) return calling
    const { serviceAccount, pod, uid, task } = calling
    return this.#ofServiceAccount(candidates, 'Pod', serviceAccount, {
      proof: 'calling pod',
      ...(task ? { task } : {}),
      attributes: { 'k8s.pod.name': pod, 'k8s.pod.uid': uid },
    })
  }

  #ofServiceAccount(
    candidates: readonly AgentConfig[],
    proof: 'Token' | 'Pod',
    { namespace, name }: ServiceAccountName,
    identity: Omit<Identity, 'agent' | 'standing'>,
  ): Identified {
    const matching = candidates.filter(
      ({ serviceAccount: own }) => own !== undefined && own.proofs.includes(proof) && own.namespace === namespace && own.name === name,
    )
    const [found] = matching
    if (!found || matching.length > 1)
      return { refusal: `ServiceAccount ${namespace}/${name} is ${found ? 'that of more than one agent' : 'no agent'} of this access` }
    const attributes = { ...identity.attributes, 'agentaccess.agent.service_account': `${namespace}/${name}` }
    return { identity: { ...identity, agent: found.name, standing: 'attested', attributes } }
  }
}

/** Of the agents that this issuer vouches for, the one whose audience and subject it is. */
async function byIssuer(token: string, candidates: readonly AgentConfig[]): Promise<Identified> {
  const verified = await Promise.all(candidates.map(async (agent) => ({ agent, result: await verifyOidc(token, agent.oidc!) })))
  const matching = verified.flatMap(({ agent, result }) => ('refusal' in result ? [] : [{ agent, ...result }]))
  const [found] = matching
  if (matching.length > 1) return { refusal: 'the token is that of more than one agent' }
  if (!found) return verified.map(({ result }) => result).find((result) => 'refusal' in result)!
  const attributes = { 'agentaccess.agent.issuer': found.agent.oidc!.issuer, 'agentaccess.agent.subject': found.subject }
  return { identity: { agent: found.agent.name, proof: 'OIDC token', standing: 'attested', expires: found.expires, attributes } }
}

export const tokenIdentity = (agent: string): Identified => ({ identity: { agent, proof: 'shared token', standing: 'attested' } })
