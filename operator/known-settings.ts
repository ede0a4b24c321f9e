// What is kept from one reconciliation to the next: it stands in the namespace's settings, and nowhere else.
import type { V1Secret } from '@kubernetes/client-node'
import { SETTINGS_KEYS, type SettingsFile } from '@agentaccess/proxy/cluster/settings'
import type { KeyPair } from './certificates.ts'

/** What the settings' Secret of a namespace says now: ports, keys and certificates are kept. */
export class KnownSettings {
  readonly #data: Record<string, string>

  constructor(secret: V1Secret | undefined) {
    this.#data = secret?.data ?? {}
  }

  text(key: string): string | undefined {
    const value = this.#data[key]
    return value === undefined ? undefined : Buffer.from(value, 'base64').toString('utf8')
  }

  ports(): Map<string, number> {
    const json = this.text(SETTINGS_KEYS.settings)
    return new Map(json === undefined ? [] : (JSON.parse(json) as SettingsFile).accesses.map(({ name, port }) => [name, port]))
  }

  serving(): KeyPair | undefined {
    const [certificate, privateKey] = [this.text(SETTINGS_KEYS.certificate), this.text(SETTINGS_KEYS.privateKey)]
    return certificate && privateKey ? { certificate, privateKey } : undefined
  }
}
