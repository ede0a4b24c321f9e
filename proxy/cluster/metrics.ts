// Prometheus metrics of a proxy. Labels are accesses only: no ids, no SQL.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Measure } from '../protocol.ts'
import type { ProxyState, RunningProxy } from '../proxy.ts'

type AccessState = ProxyState['accesses'][number]

const SECONDS = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1]

export function describeMetrics(registry: Registry, proxy: RunningProxy): void {
  type PerAccess = (name: string, help: string, value: (access: AccessState) => number) => void
  const collected =
    (kind: 'gauge' | 'counter'): PerAccess =>
    (name, help, value) => {
      const options = { name, help, labelNames: ['access'], registers: [] }
      const metric: Gauge | Counter = kind === 'gauge' ? new Gauge({ ...options, collect }) : new Counter({ ...options, collect })
      function collect() {
        metric.reset()
        for (const access of proxy.state().accesses) metric.inc({ access: access.access }, value(access))
      }
      registry.registerMetric(metric)
    }
  const [gauge, counter] = [collected('gauge'), collected('counter')]
  gauge('agentaccess_sessions', 'Sessions that run now.', ({ activeSessions }) => activeSessions)
  gauge('agentaccess_spool_waiting_bytes', 'Bytes that are recorded and not stored yet.', ({ waitingBytes }) => waitingBytes)
  gauge('agentaccess_spool_quota_bytes', 'Bytes that may wait in the spool.', ({ spoolQuota }) => spoolQuota)
  gauge('agentaccess_recording_blocked', '1 where nothing of the access can be recorded now.', ({ blocked }) => (blocked === undefined ? 0 : 1))
  counter('agentaccess_sessions_total', 'Sessions that began.', ({ counts }) => counts.sessions)
  counter('agentaccess_commands_total', 'Commands that were recorded.', ({ counts }) => counts.commands)
  counter('agentaccess_denied_total', 'Commands and connections that were refused.', ({ counts }) => counts.denied)
  counter('agentaccess_errors_total', 'Commands that failed at the target.', ({ counts }) => counts.errors)
  counter('agentaccess_recorded_bytes_total', 'Bytes that were recorded.', ({ counts }) => counts.recordedBytes)
  const whole = (name: string, help: string, value: (state: ProxyState) => number) =>
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(value(proxy.state()))
        },
      }),
    )
  whole('agentaccess_storing', '1 where evidence is stored, 0 where it waits in the spool.', ({ storing }) => (storing === true ? 1 : 0))
  whole('agentaccess_store_lag_seconds', 'For how long something has waited to be stored.', ({ lagSeconds }) => lagSeconds)
  whole('agentaccess_store_failures_total', 'Attempts to store that failed, and are made again.', ({ storeFailures }) => storeFailures)
  if (proxy.state().exported) {
    whole('agentaccess_exporting', '1 where the collector takes what it is sent.', ({ exporting }) => (exporting === true ? 1 : 0))
    whole('agentaccess_exports_total', 'Spans and logs that the collector took.', ({ exported }) => exported?.taken ?? 0)
    whole('agentaccess_exports_rejected_total', 'Spans and logs that the collector rejected for good.', ({ exported }) => exported?.rejected ?? 0)
  }
}

/** What is timed, as histograms. */
export function measure(registry: Registry): Measure {
  const histogram = (name: string, help: string) => new Histogram({ name, help, labelNames: ['access'], buckets: SECONDS, registers: [registry] })
  const histograms = {
    decision: histogram('agentaccess_decision_seconds', 'How long the rules take, for commands that are not decided as one before.'),
    added: histogram('agentaccess_added_seconds', "How long an agent's bytes are with the proxy before they go on; one chunk in eight is timed."),
  }
  return (what, access, seconds) => histograms[what].observe({ access }, seconds)
}
