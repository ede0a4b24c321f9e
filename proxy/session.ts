// One session, as every protocol sees it: record, decide, let pass.
import { accessKey } from './config.ts'
import type { CommandFacts, Facts } from './decide/facts.ts'
import type { BuiltInDeny, Decision, Policy } from './decide/policy.ts'
import type { Identity } from './identify/agents.ts'
import type { Access } from './protocol.ts'
import type { Attributes, EndedBy, SessionRecord } from './record/session-record.ts'

export interface SessionStart {
  identity: Identity
  task: { task: string; source: string } | undefined
  client: { address: string; port: number }
  target: { kind: string; host: string; port: number; database: string }
  /** What only this protocol knows, in semantic conventions. */
  attributes: Attributes
}

/** What the protocol understood of a command. */
export interface Understood {
  text: string
  /** The same object for the same text, so that what was decided of it need not be decided again; never changed. */
  facts: CommandFacts
  /** Bound values, as text. */
  parameters?: (() => readonly string[]) | undefined
  builtIn?: BuiltInDeny | undefined
  unreadable?: string | undefined
}

/** The longest that a timer takes; 24 days. */
const MAX_TIMER_MS = 2 ** 31 - 1

export class Session {
  readonly access: Access
  readonly record: SessionRecord
  /** Resolves once the session may forward; rejects where it can't be recorded. */
  readonly durable: Promise<void>
  readonly #start: SessionStart
  readonly #onEnd: () => void
  /** Where rules look at nothing else: decisions by the facts that a statement's text tells. */
  #decided = new WeakMap<CommandFacts, Decision>()
  #policy: Policy
  #task: string
  /** Ends the session with its proof. */
  #expiry: NodeJS.Timeout | undefined
  #expires: number | undefined
  #unrecorded: { count: number; why: string } | undefined
  #end: ((reason: EndedBy, why: string) => void) | undefined
  #drain: (() => void) | undefined

  constructor(access: Access, start: SessionStart, onEnd: () => void) {
    this.access = access
    this.#start = start
    this.#onEnd = onEnd
    const { identity, client, target } = start
    const task = identity.task ?? start.task
    this.#task = task?.task ?? ''
    this.#policy = access.policy
    const opened = access.recorder.openSession(
      accessKey(access.config),
      {
        'gen_ai.agent.name': identity.agent,
        'agentaccess.agent.proof': identity.proof,
        'agentaccess.agent.standing': identity.standing,
        ...(task
          ? {
              'agentaccess.task': access.redactor.redact(task.task),
              'agentaccess.task.source': task.source,
              'agentaccess.task.standing': identity.task ? 'attested' : 'claimed',
            }
          : {}),
        ...identity.attributes,
        'agentaccess.access': accessKey(access.config),
        'agentaccess.target': `${target.kind}://${target.host}:${target.port}/${target.database}`,
        'agentaccess.policy.revision': access.policy.revision,
        'k8s.namespace.name': access.config.namespace,
        'server.address': target.host,
        'server.port': target.port,
        'client.address': client.address,
        'client.port': client.port,
        ...(access.redactor.value(start.attributes) as Attributes),
      },
      () => access.redactor,
    )
    this.record = opened.record
    this.durable = opened.durable
    this.durable.catch(() => this.end('proxy', 'the session could not be recorded'))
    this.#expires = identity.expires
    if (identity.expires !== undefined) this.#expiry = this.#endsAt(identity.expires)
  }

  get id(): string {
    return this.record.id
  }

  get agent(): string {
    return this.#start.identity.agent
  }

  /** What is decided from here on is decided by other rules, if they are others: the record says from where. */
  policyMayHaveChanged(): void {
    const { policy } = this.access
    if (policy === this.#policy || this.record.ended) return
    if (policy.revision !== this.#policy.revision) this.record.policyChanged(policy.revision)
    this.#policy = policy
    this.#decided = new WeakMap()
  }

  /** A command was refused because it could not be recorded; that is recorded as soon as it can be. */
  refusedUnrecorded(why: string): void {
    this.#unrecorded ??= { count: 0, why }
    this.#unrecorded.count++
  }

  #recordRefusals(): void {
    if (!this.#unrecorded) return
    const { count, why } = this.#unrecorded
    this.#unrecorded = undefined
    this.record.decision(undefined, {
      action: 'deny',
      rule: 'built-in/cannot-record',
      message: why,
      revision: this.access.policy.revision,
      attributes: { 'agentaccess.refused.commands': count },
    })
    this.record.countDenied(count)
  }

  /** Why nothing new can be recorded now, so that nothing new may be forwarded; undefined where it can. */
  blocked(): string | undefined {
    const blocked = this.access.recorder.blocked(this.record.access, this.access.config.recording.spoolQuota)
    if (blocked === undefined) this.#recordRefusals()
    return blocked
  }

  /**
   * Decides on a command that is in the record, and records the decision where it is not a plain allow. At once for
   * rules; a decision that a person makes is a promise.
   */
  decide(command: number, understood: Understood): Decision | Promise<Decision> {
    const policy = this.#policy
    const remembers = policy.stable && understood.builtIn === undefined && understood.unreadable === undefined
    let decision = remembers ? this.#decided.get(understood.facts) : undefined
    if (!decision) {
      const begun = performance.now()
      decision = policy.decide(() => this.#facts(understood), understood.builtIn, understood.unreadable)
      this.access.measure?.('decision', this.record.access, (performance.now() - begun) / 1000)
      if (remembers) this.#decided.set(understood.facts, decision)
    }
    if (decision.action !== 'allow') {
      const { rule, message } = decision
      this.record.decision(command, { action: decision.action, rule, ...(message === undefined ? {} : { message }), revision: policy.revision })
    }
    return decision
  }

  #facts({ text, facts, parameters }: Understood): Facts {
    const { identity, target } = this.#start
    let values: readonly string[] | undefined
    return {
      command: {
        ...facts,
        text,
        get parameters() {
          return (values ??= parameters?.() ?? [])
        },
      },
      agent: { name: identity.agent, proof: identity.proof },
      task: this.#task,
      target,
      session: { id: this.id, ...this.record.totals },
      now: new Date(),
    }
  }

  /** Runs `release` once all that was recorded before this call is in the log; `fail` where it can't be. */
  pass(release: () => void, fail: (reason: string) => void): void {
    this.access.recorder.gate.pass(this.access.config.recording.durability, release, fail)
  }

  taskChanged(task: string, source: string): void {
    // What the pod says of the task is not the client's to change.
    if (task === this.#task || this.#start.identity.task) return
    this.#task = task
    this.record.taskChanged({ 'agentaccess.task': task, 'agentaccess.task.source': source, 'agentaccess.task.standing': 'claimed' })
  }

  /** How the protocol ends its connections when the proxy wants the session to end. */
  onEndRequested(end: (by: EndedBy, why: string) => void): void {
    this.#end = end
  }

  /** What a session does, that would last longer, when the proxy waits for all to end. */
  onDrain(drain: () => void): void {
    this.#drain = drain
  }

  drain(): void {
    this.#drain?.()
  }

  /** The agent has proven itself anew, for longer. */
  provenUntil(expires: number | undefined): void {
    if (this.#expires === undefined || (expires !== undefined && expires <= this.#expires) || this.record.ended) return
    this.#expires = expires
    clearTimeout(this.#expiry)
    this.#expiry = expires === undefined ? undefined : this.#endsAt(expires)
  }

  #endsAt(expires: number): NodeJS.Timeout {
    const left = Math.min(Math.max(0, expires - Date.now()), MAX_TIMER_MS)
    return setTimeout(() => this.requestEnd('policy', 'the token that the agent has proven itself with has expired'), left).unref()
  }

  requestEnd(by: EndedBy, why: string): void {
    this.#end?.(by, why)
  }

  end(by: EndedBy, reason?: string): void {
    if (this.record.ended) return
    clearTimeout(this.#expiry)
    this.#recordRefusals()
    this.record.end(by, reason)
    this.#onEnd()
  }
}
