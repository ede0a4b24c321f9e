// One access as it stands now. What it is made of is replaced as a whole when its configuration changes: what is decided
// next, is decided by the new rules, in sessions that run too.
import { accessKey, type AccessConfig } from './config.ts'
import { Policy } from './decide/policy.ts'
import { Agents } from './identify/agents.ts'
import type { Attestation } from './identify/attestation.ts'
import type { Access, InjectedTokens, Measure, Peers, ServerTls, Services } from './protocol.ts'
import { Door } from './record/door.ts'
import type { Recorder } from './record/recorder.ts'
import { Redactor } from './record/redactor.ts'
import { Sessions } from './sessions.ts'

interface Compiled {
  config: AccessConfig
  policy: Policy
  agents: Agents
  redactor: Redactor
}

/** @throws where a rule or a pattern does not compile, naming it. */
export function compileAccess(config: AccessConfig, attestation?: Attestation): Compiled {
  return {
    config,
    policy: new Policy(config.policy, config.revision),
    agents: new Agents(config, attestation),
    redactor: new Redactor(config.recording.redact),
  }
}

export class LiveAccess implements Access {
  readonly key: string
  readonly recorder: Recorder
  readonly tls: ServerTls | undefined
  readonly sessions = new Sessions()
  readonly door: Door
  readonly tokens: InjectedTokens | undefined
  readonly peers: Peers | undefined
  readonly measure: Measure | undefined
  readonly #attestation: Attestation | undefined
  #now: Compiled

  /** @throws where a rule or a pattern does not compile, naming it. */
  constructor(config: AccessConfig, recorder: Recorder, { tls, attestation, tokens, peers, measure }: Services) {
    this.key = accessKey(config)
    this.recorder = recorder
    this.tls = tls
    this.tokens = tokens
    this.peers = peers
    this.measure = measure
    this.#attestation = attestation
    this.#now = compileAccess(config, attestation)
    const { target } = config
    const attributes = {
      'agentaccess.target': `${target.kind}://${target.host}:${target.port}`,
      'agentaccess.policy.revision': config.revision,
      'k8s.namespace.name': config.namespace,
    }
    this.door = new Door(recorder, this.key, attributes, () => this.redactor)
  }

  get config(): AccessConfig {
    return this.#now.config
  }

  get policy(): Policy {
    return this.#now.policy
  }

  get agents(): Agents {
    return this.#now.agents
  }

  get redactor(): Redactor {
    return this.#now.redactor
  }

  /**
   * From the next command on. Sessions go on, but for those that may not be any more; credentials and target are those of
   * new sessions. @throws where a rule or a pattern does not compile: then nothing has changed.
   */
  update(config: AccessConfig): void {
    this.#now = compileAccess(config, this.#attestation)
    for (const session of this.sessions.live()) {
      session.policyMayHaveChanged()
      if (config.suspended) session.requestEnd('suspended', 'the access is suspended')
      else if (!this.agents.named(session.agent)) session.requestEnd('policy', `agent ${session.agent} is not listed any more`)
    }
  }
}
