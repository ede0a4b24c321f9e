// Asks the proxies of a namespace how they are, and writes what they say into the status of its accesses.
import { CoreV1Api } from '@kubernetes/client-node'
import type { Cluster } from './cluster.ts'
import type { Countersigner } from './countersign.ts'
import type { StoredAccess } from './desired/names.ts'
import { IsolationProbes } from './isolation-probes.ts'
import type { ProxyStates } from './proxy-states.ts'
import type { Reconciler } from './reconcile.ts'
import { differs, statusOf, type Condition, type Status } from './status.ts'
import type { Watches } from './watch.ts'

export interface ReporterOptions {
  cluster: Cluster
  watches: Watches
  reconciler: Reconciler
  states: ProxyStates
  countersigner: Countersigner
  spoolIsDurable: boolean
  failed: (message: string) => void
}

export class Reporter {
  readonly #options: ReporterOptions
  readonly #events: CoreV1Api
  readonly #isolation = new IsolationProbes()

  constructor(options: ReporterOptions) {
    this.#options = options
    this.#events = options.cluster.config.makeApiClient(CoreV1Api)
  }

  /** @throws what the API server says */
  async report(namespace: string): Promise<void> {
    const { cluster, watches, reconciler, states, countersigner, spoolIsDurable } = this.#options
    const accesses = watches.accesses(namespace)
    if (accesses.length === 0) return
    const proxies = await states.ask(namespace)
    await countersigner.sign(namespace, proxies)
    for (const access of accesses) {
      const outcome = reconciler.outcome(access)
      if (!outcome) continue
      const status = statusOf({ access, outcome, proxies, spoolIsDurable, isolated: this.#isolation.verdict(access), now: new Date() })
      if (!differs(access, status)) continue
      await cluster.patchStatus(access, status)
      await this.#tellChanges(access, status)
    }
  }

  /** A Kubernetes Event for each condition that has changed. */
  async #tellChanges(access: StoredAccess, status: Status): Promise<void> {
    const before = (access.status?.conditions ?? []) as Condition[]
    for (const { type, status: is, reason, message } of status.conditions) {
      const was = before.find((condition) => condition.type === type)
      if (is === 'Unknown' || (was?.status === is && was.reason === reason)) continue
      await this.#event(access, is === 'True' ? 'Normal' : 'Warning', `${type}${is === 'True' ? '' : reason}`, message)
    }
  }

  async #event(access: StoredAccess, type: 'Normal' | 'Warning', reason: string, message: string): Promise<void> {
    const { apiVersion, kind, metadata } = access
    const { name, namespace, uid, resourceVersion } = metadata
    const now = new Date()
    try {
      await this.#events.createNamespacedEvent({
        namespace,
        body: {
          metadata: { generateName: `${name}.`, namespace },
          involvedObject: { apiVersion, kind, name, namespace, uid, resourceVersion },
          type,
          reason,
          message: message.slice(0, 1024),
          source: { component: 'agentaccess-operator' },
          firstTimestamp: now,
          lastTimestamp: now,
          count: 1,
        },
      })
    } catch (error) {
      this.#options.failed(`an Event of ${namespace}/${name} can't be made: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
}
