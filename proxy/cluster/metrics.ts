// Prometheus metrics of a proxy. Labels are accesses only: no ids, no SQL.
import { Gauge, type Registry } from 'prom-client'
import type { RunningProxy } from '../proxy.ts'

export function describeMetrics(registry: Registry, proxy: RunningProxy): void {
  const perAccess = (name: string, help: string, value: (access: ReturnType<RunningProxy['state']>['accesses'][number]) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['access'],
      registers: [registry],
      collect() {
        this.reset()
        for (const access of proxy.state().accesses) this.set({ access: access.access }, value(access))
      },
    })
  perAccess('agentaccess_sessions', 'Sessions that run now.', ({ activeSessions }) => activeSessions)
  perAccess('agentaccess_spool_waiting_bytes', 'Bytes that are recorded and not stored yet.', ({ waitingBytes }) => waitingBytes)
  perAccess('agentaccess_spool_quota_bytes', 'Bytes that may wait in the spool.', ({ spoolQuota }) => spoolQuota)
  perAccess('agentaccess_recording_blocked', '1 where nothing of the access can be recorded now.', ({ blocked }) => (blocked === undefined ? 0 : 1))
  const storing = {
    name: 'agentaccess_storing',
    help: '1 where evidence is stored, 0 where it waits in the spool.',
    collect(this: Gauge) {
      this.set(proxy.state().storing === true ? 1 : 0)
    },
  }
  registry.registerMetric(new Gauge({ ...storing, registers: [] }))
}
