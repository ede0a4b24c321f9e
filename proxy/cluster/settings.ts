// What the operator tells the proxies of a namespace, in one Secret; each access has one of its own beside it.
import type { S3Options } from '@agentaccess/recording/s3'
import type { AccessConfig } from '../config.ts'
import type { OtlpOptions } from '../ship/otlp/sender.ts'
import type { SecretData } from './watch-secret.ts'

/** Of the StatefulSet, and so the beginning of its pods' names; of its headless Service. */
export const PROXY_NAME = 'agentaccess-proxy'
export const SETTINGS_SECRET = 'agentaccess-proxy'
export const accessSecretName = (access: string): string => `agentaccess-access-${access}`

/** Keys of the settings' Secret. */
export const SETTINGS_KEYS = {
  settings: 'settings.json',
  certificate: 'tls.crt',
  privateKey: 'tls.key',
  signingKey: 'signing-key.pem',
  clientCa: 'client-ca.crt',
  /** The CA that the operator's own client certificate is of. */
  operatorCa: 'operator-ca.crt',
} as const
/** The one key of an access's Secret. */
export const ACCESS_KEY = 'access.json'

/** Ports that are the same in every proxy. */
export const STATE_PORT = 8443
export const METRICS_PORT = 9090

export interface SettingsFile {
  /** Where each access listens. `closed`: it keeps its port, and does not listen. */
  accesses: { name: string; port: number; closed?: boolean }[]
  evidence: S3Options
  otlp?: OtlpOptions
}

export interface Settings extends SettingsFile {
  certificate: string
  privateKey: string
  signingKey: string
  clientCa: string | undefined
  operatorCa: string
}

/** Undefined where there is no Secret. @throws where it is not as the operator writes it */
export function parseSettings(data: SecretData): Settings | undefined {
  if (!data) return undefined
  const text = (key: string): string => {
    const value = data.get(key)
    if (!value) throw new Error(`Secret ${SETTINGS_SECRET} has no key ${key}`)
    return value.toString('utf8')
  }
  return {
    ...(JSON.parse(text(SETTINGS_KEYS.settings)) as SettingsFile),
    certificate: text(SETTINGS_KEYS.certificate),
    privateKey: text(SETTINGS_KEYS.privateKey),
    signingKey: text(SETTINGS_KEYS.signingKey),
    clientCa: data.get(SETTINGS_KEYS.clientCa)?.toString('utf8'),
    operatorCa: text(SETTINGS_KEYS.operatorCa),
  }
}

/** Undefined where it is not there (yet, or any more). @throws where it is not JSON */
export function parseAccess(data: SecretData): AccessConfig | undefined {
  const json = data?.get(ACCESS_KEY)
  return json && (JSON.parse(json.toString('utf8')) as AccessConfig)
}
