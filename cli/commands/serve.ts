// serve: the same proxy as on a cluster, from files.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pino, destination } from 'pino'
import { accessKey, startProxy, type AccessConfig, type ProxyOptions, type RunningProxy } from '@agentaccess/proxy'
import { generateSigningKeyPem, signerFromPem, type Signer } from '@agentaccess/recording'
import { bucketOf } from '../evidence-option.ts'
import { parseDuration } from '../duration.ts'
import { loadAccesses, UsageError } from '../manifests.ts'
import { watchManifests } from '../watch-manifests.ts'
import { serveTls } from '../serve-tls.ts'

export interface ServeOptions {
  file: string[]
  evidence: string
  host: string
  port: string[]
  spool?: string
  signingKey?: string
  tlsCert?: string
  tlsKey?: string
  clientCa?: string
  grace: string
}

export async function serve(options: ServeOptions): Promise<void> {
  const accesses = loadAccesses(options.file)
  const ports = parsePorts(options.port, accesses)
  const grace = parseDuration(options.grace, '--grace')
  const inBucket = options.evidence.startsWith('s3://')
  if (inBucket && options.spool === undefined) throw new UsageError('--spool DIR is missing: where recordings wait to be stored in the bucket')
  const evidence = inBucket ? await bucketOf(options.evidence) : resolve(options.evidence)
  const spool = resolve(options.spool ?? `${options.evidence}.spool`)
  if (typeof evidence === 'string') mkdirSync(evidence, { recursive: true })
  mkdirSync(spool, { recursive: true, mode: 0o700 })
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 2, sync: true }))
  const signer = loadSigner(options.signingKey ?? `${spool}/signing-key.pem`, options.signingKey === undefined)
  writeFileSync(`${spool}/public-key.pem`, signer.publicKey.export({ type: 'spki', format: 'pem' }))
  const { tls, ca } = await serveTls(options, spool)
  // Before the first await that can take long: a signal must find someone.
  const stopped = signalled()
  const proxy = await startProxy({
    accesses,
    listen: (access) => ({ host: options.host, port: ports.get(access.name) ?? 0 }),
    spool,
    evidence,
    ...otlpFromEnvironment(),
    signer,
    tls,
    log: (level, fields, message) => log[level](fields, message),
  }).catch((error: unknown) => {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  })
  log.info({ key: signer.keyId, publicKey: `${spool}/public-key.pem`, evidence: options.evidence, spool }, 'recording')
  for (const { access, host, port } of proxy.endpoints)
    console.log(JSON.stringify({ access, endpoint: `${host.includes(':') ? `[${host}]` : host}:${port}`, ca }))
  const watching = watchManifests(options.file, proxy, log)
  await stopped
  watching.stop()
  await shutDown(proxy, grace, log)
}

/** https://opentelemetry.io/docs/specs/otel/protocol/exporter/: `key=value` pairs, percent-encoded. */
function otlpFromEnvironment(): Pick<ProxyOptions, 'otlp'> {
  const { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_HEADERS: given = '' } = process.env
  if (!endpoint) return {}
  const headers = given.split(',').flatMap((pair) => {
    const at = pair.indexOf('=')
    return at > 0 ? [[pair.slice(0, at).trim(), decodeURIComponent(pair.slice(at + 1).trim())] as const] : []
  })
  return { otlp: { endpoint, headers: Object.fromEntries(headers) } }
}

async function shutDown(proxy: RunningProxy, graceMs: number, log: { info: (fields: object, message: string) => void }): Promise<void> {
  log.info({ grace: graceMs }, 'stopping: no new sessions; those that run may end by themselves')
  await proxy.stop(graceMs)
}

function signalled(): Promise<void> {
  return new Promise((resolvePromise) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolvePromise())
  })
}

function loadSigner(path: string, make: boolean): Signer {
  if (make && !existsSync(path)) writeFileSync(path, generateSigningKeyPem(), { mode: 0o600 })
  try {
    return signerFromPem(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new UsageError(`--signing-key ${path}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function parsePorts(given: readonly string[], accesses: readonly AccessConfig[]): Map<string, number> {
  const ports = new Map<string, number>()
  for (const text of given) {
    const match = /^(?:([^=/]+\/)?([^=]+)=)(\d+)$/.exec(text)
    const access = accesses.find(({ name, namespace }) => name === match?.[2] && (match[1] === undefined || match[1] === `${namespace}/`))
    const port = Number(match?.[3])
    if (!match || port > 65535) throw new UsageError(`--port ${text}: expected ACCESS=PORT`)
    if (!access) throw new UsageError(`--port ${text}: there is no such access; there is ${accesses.map(accessKey).join(', ')}`)
    ports.set(access.name, port)
  }
  return ports
}
