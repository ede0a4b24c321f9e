// What the chart tells the operator: one JSON file, from its values.
import { readFileSync } from 'node:fs'
import type { SettingsFile } from '@agentaccess/proxy/cluster/settings'
import type { S3Options } from '@agentaccess/recording/s3'

export interface OperatorSettings {
  /** Where the operator itself runs. */
  namespace: string
  /** Empty: every namespace. */
  watchNamespaces: string[]
  /** Whether proxies may have tokens reviewed; else they check them by the cluster's published keys. */
  tokenReview: boolean
  evidence: S3Options
  otlp?: SettingsFile['otlp']
  /** PEM; agents with a client certificate are known by it. */
  clientCa?: string
  proxy: ProxySettings
}

export interface ProxySettings {
  image: string
  imagePullPolicy: string
  imagePullSecrets: { name: string }[]
  replicas: number
  /** `emptyDir`: what is in the spool is gone with its pod. */
  spool: { emptyDir: boolean; size: string; storageClassName?: string }
  resources: object
  serviceAccountAnnotations: Record<string, string>
  podAnnotations: Record<string, string>
  nodeSelector: Record<string, string>
  tolerations: object[]
  /** How long sessions may go on when a proxy is asked to end. */
  graceSeconds: number
}

/** @throws where the file can't be read, naming it */
export function readSettings(file: string, environment: NodeJS.ProcessEnv): OperatorSettings {
  const settings = JSON.parse(readFileSync(file, 'utf8')) as OperatorSettings
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = environment
  // Static keys are in a Secret, not in the settings; proxies get them with theirs.
  if (accessKeyId && secretAccessKey) settings.evidence.credentials = { accessKeyId, secretAccessKey }
  // `name: value` lines, as a Secret holds them best.
  const headers = environment.AGENTACCESS_OTLP_HEADERS
  if (settings.otlp && headers) settings.otlp.headers = parseHeaders(headers)
  return settings
}

function parseHeaders(text: string): Record<string, string> {
  const pairs = text.split('\n').flatMap((line) => {
    const at = line.indexOf(':')
    return at > 0 ? [[line.slice(0, at).trim(), line.slice(at + 1).trim()] as const] : []
  })
  return Object.fromEntries(pairs)
}
