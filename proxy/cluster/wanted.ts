// What the operator wants of this proxy now: its settings, and each access that they name, as their Secrets say.
import { accessKey, type AccessConfig } from '../config.ts'
import { compileAccess } from '../access.ts'
import type { KubeApi } from './kube-api.ts'
import { accessSecretName, parseAccess, parseSettings, SETTINGS_SECRET, type Settings } from './settings.ts'
import { watchSecret, type SecretData, type WatchedSecret } from './watch-secret.ts'

type Log = (level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => void

/** Changes that come together are taken together. */
const SETTLE_MS = 20

export class Wanted {
  readonly #api: KubeApi
  readonly #namespace: string
  readonly #log: Log
  readonly #changed: () => void
  readonly #watches = new Map<string, WatchedSecret>()
  readonly #accesses = new Map<string, AccessConfig>()
  readonly #first = Promise.withResolvers<Settings>()
  #settings: Settings | undefined
  #settling: NodeJS.Timeout | undefined

  constructor(api: KubeApi, namespace: string, log: Log, changed: () => void) {
    this.#api = api
    this.#namespace = namespace
    this.#log = log
    this.#changed = changed
    this.#watches.set(
      '',
      this.#watch(SETTINGS_SECRET, (data) => this.#settingsChanged(data)),
    )
  }

  /** The settings, once they and the accesses that they name have been read. */
  async first(): Promise<Settings> {
    const settings = await this.#first.promise
    await Promise.all([...this.#watches.values()].map(({ ready }) => ready))
    return settings
  }

  get settings(): Settings | undefined {
    return this.#settings
  }

  get accesses(): AccessConfig[] {
    return [...this.#accesses.values()]
  }

  portOf(access: string): number | undefined {
    return this.#settings?.accesses.find(({ name }) => name === access)?.port
  }

  stop(): void {
    clearTimeout(this.#settling)
    for (const watch of this.#watches.values()) watch.stop()
  }

  #watch(name: string, changed: (data: SecretData) => void): WatchedSecret {
    const guarded = (data: SecretData) => {
      try {
        changed(data)
      } catch (error) {
        this.#log('error', { secret: name }, `what was in force still is: ${error instanceof Error ? error.message : String(error)}`)
      }
      clearTimeout(this.#settling)
      this.#settling = setTimeout(this.#changed, SETTLE_MS)
    }
    return watchSecret(this.#api, { namespace: this.#namespace, name }, guarded, (message) => this.#log('warn', { secret: name }, message))
  }

  #settingsChanged(data: SecretData): void {
    const settings = parseSettings(data)
    // Without settings nothing is told of the accesses: they stay as they are.
    if (!settings) return
    this.#settings = settings
    const names = new Set(settings.accesses.flatMap(({ name, closed }) => (closed ? [] : [name])))
    for (const [name, watch] of this.#watches) {
      if (name === '' || names.has(name)) continue
      watch.stop()
      this.#watches.delete(name)
      this.#accesses.delete(name)
    }
    for (const name of names) {
      if (!this.#watches.has(name))
        this.#watches.set(
          name,
          this.#watch(accessSecretName(name), (found) => this.#accessChanged(name, found)),
        )
    }
    this.#first.resolve(settings)
  }

  #accessChanged(name: string, data: SecretData): void {
    const config = parseAccess(data)
    if (!config) {
      this.#accesses.delete(name)
      return
    }
    if (config.namespace !== this.#namespace || config.name !== name) throw new Error(`the Secret of access ${name} is of ${accessKey(config)}`)
    // One that does not compile must not keep the others from being taken.
    compileAccess(config)
    this.#accesses.set(name, config)
  }
}
