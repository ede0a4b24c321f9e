// The operator, in its pod.
import { hostname } from 'node:os'
import { KubeConfig } from '@kubernetes/client-node'
import { destination, pino } from 'pino'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import { serveHealth } from '@agentaccess/proxy/cluster/state'
import { keptAuthority, operatorCertificate } from './authority.ts'
import { Cluster, explain } from './cluster.ts'
import { Countersigner } from './countersign.ts'
import { electLeader } from './leader-election.ts'
import { ProxyStates } from './proxy-states.ts'
import { Reconciler } from './reconcile.ts'
import { Reporter } from './report.ts'
import { readSettings, type OperatorSettings } from './settings.ts'
import { Watches } from './watch.ts'
import { WorkQueue } from './work-queue.ts'

/** How often proxies are asked how they are. */
const REPORT_MS = 2000
/** How soon something that takes its time is looked at again. */
const AGAIN_MS = 1000
const RESYNC_MS = 3_600_000
const CONCURRENCY = 4

const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 1, sync: true }))
const registry = new Registry()
collectDefaultMetrics({ register: registry })
const failures = new Counter({
  name: 'agentaccess_operator_failures_total',
  help: 'Attempts that failed, and are made again.',
  labelNames: ['what'],
  registers: [registry],
})
const leads = new Gauge({ name: 'agentaccess_operator_leader', help: '1 where this replica acts.', registers: [registry] })

/** Begins to act; what is returned ends it. */
async function act(config: KubeConfig, settings: OperatorSettings): Promise<() => Promise<void>> {
  const cluster = new Cluster(config)
  const authority = await keptAuthority(cluster, settings.namespace)
  const failed = (what: string) => (key: string, error: unknown) => {
    failures.inc({ what })
    log.error({ namespace: key }, `${what}: ${explain(error)}`)
  }
  const objects = new WorkQueue({
    concurrency: CONCURRENCY,
    work: async (namespace) => {
      const again = (await reconciler.reconcile(namespace)) === 'again'
      // Now and then without a cause, too: certificates come of age.
      objects.addAfter(namespace, again ? AGAIN_MS : RESYNC_MS)
      reports.add(namespace)
    },
    failed: failed('reconcile'),
  })
  const reports = new WorkQueue({
    concurrency: CONCURRENCY,
    work: async (namespace) => {
      await reporter.report(namespace)
      if (watches.namespaces().includes(namespace)) reports.addAfter(namespace, REPORT_MS)
    },
    failed: failed('status'),
  })
  const watches = new Watches({
    cluster,
    namespaces: settings.watchNamespaces,
    changed: (namespace) => objects.add(namespace),
    failed: (what, error) => failed(what)('', error),
  })
  const states = new ProxyStates(watches, authority.certificate, operatorCertificate(authority))
  const reconciler = new Reconciler({ cluster, watches, settings, authority, states })
  const reporter = new Reporter({
    cluster,
    watches,
    reconciler,
    states,
    countersigner: await Countersigner.start(cluster, settings.namespace),
    spoolIsDurable: !settings.proxy.spool.emptyDir,
    failed: (message) => log.warn({}, message),
  })
  await watches.start()
  for (const namespace of watches.namespaces()) objects.add(namespace)
  log.info({ namespaces: watches.namespaces() }, 'this replica leads')
  return async () => {
    await watches.stop()
    await Promise.all([objects.stop(), reports.stop()])
  }
}

/** Runs until SIGTERM or SIGINT, or until it has lost the lead. @throws where the settings can't be read */
export async function runOperator(settingsFile: string): Promise<void> {
  const settings = readSettings(settingsFile, process.env)
  const config = new KubeConfig()
  config.loadFromCluster()
  const { promise: ended, resolve: end } = Promise.withResolvers<'signal' | 'lost'>()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => end('signal'))
  const health = await serveHealth({ ready: () => true, metrics: () => registry.metrics() })
  let acting: Promise<() => Promise<void>> | undefined
  const election = electLeader(
    config,
    { namespace: settings.namespace, identity: hostname() },
    {
      elected: () => {
        leads.set(1)
        acting = act(config, settings)
        acting.catch((error: unknown) => {
          log.error({}, `it can't begin to lead: ${explain(error)}`)
          end('lost')
        })
      },
      lost: () => end('lost'),
      failed: (message) => log.warn({}, message),
    },
  )
  const why = await ended
  // What it did not finish, the next leader does: it must only not go on.
  if (why === 'lost') {
    log.error({}, 'the lead is lost: this replica starts anew')
    process.exit(1)
  }
  await (
    await acting
  )?.()
  await election.release()
  await health.close()
}
