// An OpenTelemetry Collector, Jaeger and Prometheus beside the cluster. What the collector gets goes to Jaeger, and logs, which
// Jaeger has no place for, to its own output.
import { openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stopChild, type Scope } from '../scope.ts'
import { eventually, get } from './kubectl.ts'
import { NODE } from './node.ts'

const JAEGER = 'http://127.0.0.1:16686'
const JAEGER_OTLP = '127.0.0.1:4418'
export const COLLECTOR = `http://${NODE.address}:4318`

const quiet = { metrics: { level: 'none' } }

const jaegerConfig = {
  service: {
    extensions: ['jaeger_storage', 'jaeger_query'],
    pipelines: { traces: { receivers: ['otlp'], exporters: ['jaeger_storage_exporter'] } },
    telemetry: quiet,
  },
  extensions: {
    jaeger_query: { storage: { traces: 'memory' }, http: { endpoint: '127.0.0.1:16686' }, grpc: { endpoint: '127.0.0.1:16685' } },
    jaeger_storage: { backends: { memory: { memory: { max_traces: 100_000 } } } },
  },
  receivers: { otlp: { protocols: { http: { endpoint: JAEGER_OTLP } } } },
  exporters: { jaeger_storage_exporter: { trace_storage: 'memory' } },
}

const collectorConfig = {
  service: {
    pipelines: { traces: { receivers: ['otlp'], exporters: ['otlp_http'] }, logs: { receivers: ['otlp'], exporters: ['debug'] } },
    telemetry: quiet,
  },
  receivers: { otlp: { protocols: { http: { endpoint: `${NODE.address}:4318` } } } },
  exporters: { otlp_http: { endpoint: `http://${JAEGER_OTLP}`, compression: 'none' }, debug: { verbosity: 'detailed' } },
}

const PROMETHEUS = 'http://127.0.0.1:9091'

interface Pods {
  items: {
    metadata: { name: string; namespace: string }
    spec: { containers: { ports?: { name?: string; containerPort: number }[] }[] }
    status: { podIP?: string; phase?: string }
  }[]
}

/** Scrapes every pod's port named `metrics`. Debian's Prometheus has no Kubernetes discovery: a file tells it the pods. */
function startPrometheus(scope: Scope): void {
  const targets = join(scope.folder, 'targets.json')
  const look = async () => {
    const { items } = await get<Pods>('pods', '--all-namespaces')
    const found = items.flatMap(({ metadata: { namespace, name }, spec, status }) =>
      spec.containers.flatMap(({ ports = [] }) =>
        ports.flatMap(({ name: port, containerPort }) =>
          port === 'metrics' && status.podIP && status.phase === 'Running'
            ? [{ targets: [`${status.podIP}:${containerPort}`], labels: { namespace, pod: name } }]
            : [],
        ),
      ),
    )
    writeFileSync(targets, JSON.stringify(found))
  }
  // The API server may be asked again in two seconds.
  setInterval(() => void look().catch(() => {}), 2000).unref()
  const config = {
    global: { scrape_interval: '1s' },
    scrape_configs: [{ job_name: 'pods', file_sd_configs: [{ files: [targets], refresh_interval: '1s' }] }],
  }
  const file = join(scope.folder, 'prometheus.json')
  writeFileSync(file, JSON.stringify(config))
  const log = openSync(join(scope.folder, 'prometheus.log'), 'a')
  const flags = [`--config.file=${file}`, '--web.listen-address=127.0.0.1:9091', `--storage.tsdb.path=${join(scope.folder, 'prometheus')}`]
  scope.spawn('prometheus', flags, { stdio: ['ignore', log, log] })
}

export interface JaegerSpan {
  traceID: string
  spanID: string
  operationName: string
  startTime: number
  tags: { key: string; value: unknown }[]
}

export interface Telemetry {
  /** Spans of each trace that has a span with these tags. */
  traces(tags: Record<string, string>): Promise<JaegerSpan[][]>
  /** The value of each series that a query has, by its labels. */
  query(promql: string): Promise<{ labels: Record<string, string>; value: number }[]>
  /** All that the collector was sent as logs. */
  logs(): string
  stopCollector(): Promise<void>
  startCollector(): Promise<void>
}

export async function startTelemetry(scope: Scope): Promise<Telemetry> {
  const output = join(scope.folder, 'collector.log')
  const start = (name: 'jaeger' | 'collector', config: object) => {
    const file = join(scope.folder, `${name}.json`)
    writeFileSync(file, JSON.stringify(config))
    const log = openSync(join(scope.folder, `${name}.log`), 'a')
    return scope.spawn(name, ['--config', file], { stdio: ['ignore', log, log] })
  }
  const answers = (url: string) => eventually(url, async () => (await fetch(url).catch(() => undefined)) !== undefined, 30)
  start('jaeger', jaegerConfig)
  let collector = start('collector', collectorConfig)
  startPrometheus(scope)
  await Promise.all([answers(JAEGER), answers(COLLECTOR), answers(PROMETHEUS)])
  return {
    traces: async (tags) => {
      const query = new URLSearchParams({ service: 'agentaccess', limit: '1000', tags: JSON.stringify(tags) })
      const { data } = (await (await fetch(`${JAEGER}/api/traces?${query.toString()}`)).json()) as { data: { spans: JaegerSpan[] }[] | null }
      return (data ?? []).map(({ spans }) => spans.toSorted((a, b) => a.startTime - b.startTime))
    },
    query: async (promql) => {
      const answer = await fetch(`${PROMETHEUS}/api/v1/query?${new URLSearchParams({ query: promql }).toString()}`)
      const { data } = (await answer.json()) as { data: { result: { metric: Record<string, string>; value: [number, string] }[] } }
      return data.result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }))
    },
    logs: () => readFileSync(output, 'utf8'),
    stopCollector: () => stopChild(collector, 'SIGTERM'),
    startCollector: async () => {
      collector = start('collector', collectorConfig)
      await answers(COLLECTOR)
    },
  }
}

export const tagOf = (span: JaegerSpan, key: string): unknown => span.tags.find((tag) => tag.key === key)?.value
