// A proxy of a namespace, in its pod: takes what the operator says, as it changes, until it is asked to end.
import { hostname } from 'node:os'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { FastifyInstance } from 'fastify'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { destination, pino } from 'pino'
import { signerFromPem } from '@agentaccess/recording'
import { accessKey, type AccessConfig } from '../config.ts'
import { protocols } from '../protocols/protocols.ts'
import { startProxy, type RunningProxy } from '../proxy.ts'
import { podFinder } from './calling-pod.ts'
import { inClusterApi, ownNamespace } from './kube-api.ts'
import { injectedTokens } from './injected-tokens.ts'
import { describeMetrics, measure } from './metrics.ts'
import { PROXY_NAME, type Settings } from './settings.ts'
import { serveHealth, serveState } from './state-endpoint.ts'
import { TargetProbes } from './target-probes.ts'
import { audienceOf, tokenReviewer } from './token-review.ts'
import { Wanted } from './wanted.ts'

export interface ClusterProxyOptions {
  spool: string
  /** How long sessions may go on when the proxy is asked to end. */
  graceMs: number
}

/** Runs until SIGTERM or SIGINT. @throws where it can't start */
export async function runClusterProxy(options: ClusterProxyOptions): Promise<void> {
  const stopped = signalled()
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 1, sync: true }))
  const api = inClusterApi()
  const tokens = injectedTokens(api)
  const namespace = ownNamespace()
  const ordinal = Number(hostname().split('-').at(-1))
  let proxy: RunningProxy | undefined
  let tls: SecureContext
  let statePoint: FastifyInstance | undefined
  let served = ''
  const probes = new TargetProbes((target) => protocols[target.kind].probe(target, tokens))
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const health = await serveHealth({ ready: () => proxy !== undefined, metrics: () => registry.metrics() })
  const write = (level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => log[level](fields, message)

  const takeCertificate = async (settings: Settings) => {
    const { certificate, privateKey, clientCa, operatorCa } = settings
    tls = createSecureContext({ cert: certificate, key: privateKey, minVersion: 'TLSv1.2', ...(clientCa === undefined ? {} : { ca: clientCa }) })
    const now = [certificate, privateKey, operatorCa].join('\n')
    if (served === now) return
    served = now
    await statePoint?.close()
    statePoint = await serveState(settings, () => ({
      ...(proxy?.state() ?? { accesses: [], settled: false, lagSeconds: 0, storeFailures: 0, storing: false }),
      targets: probes.results(),
    }))
  }
  const listening = () => wanted.accesses.filter(({ name }) => wanted.portOf(name) !== undefined)
  const take = async () => {
    if (!proxy || !wanted.settings) return
    await takeCertificate(wanted.settings)
    await proxy.update(listening())
    probes.update(wanted.accesses)
    log.info({ accesses: wanted.accesses.map(({ name, revision }) => `${name}@${revision}`) }, 'in force')
  }
  // One after the other.
  let last = Promise.resolve()
  const wanted = new Wanted(api, namespace, write, () => {
    last = last.then(take).catch((error: unknown) => log.error({}, `not all can be taken: ${error instanceof Error ? error.message : String(error)}`))
  })
  const ending = stopped.then(() => undefined)
  const settings = await Promise.race([wanted.first(), ending])
  if (settings) {
    await takeCertificate(settings)
    const review = tokenReviewer(api, audienceOf(namespace))
    proxy = await startProxy({
      accesses: listening(),
      namespace,
      listen: (access: AccessConfig) => ({ host: '::', port: wanted.portOf(access.name)! }),
      spool: options.spool,
      evidence: settings.evidence,
      ...(settings.otlp ? { otlp: settings.otlp } : {}),
      signer: signerFromPem(settings.signingKey),
      tls: { context: () => tls, clientCertificates: settings.clientCa !== undefined },
      peers: { own: ordinal, hostOf: (of) => `${PROXY_NAME}-${of}.${PROXY_NAME}.${namespace}.svc` },
      measure: measure(registry),
      tokens,
      attestation: { reviewToken: review, callingPod: podFinder(api) },
      log: write,
    })
    describeMetrics(registry, proxy)
    probes.update(wanted.accesses)
    log.info({ namespace, accesses: wanted.accesses.map(accessKey) }, 'recording')
    await stopped
  }
  wanted.stop()
  probes.stop()
  log.info({ grace: options.graceMs }, 'stopping: no new sessions; those that run may end by themselves')
  await last
  await proxy?.stop(options.graceMs)
  await statePoint?.close()
  await health.close()
}

function signalled(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
  })
}
