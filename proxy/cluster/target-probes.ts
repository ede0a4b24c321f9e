// Whether each target can be used: asked when an access comes or changes, and then now and again.
import { accessKey, type AccessConfig, type TargetConfig } from '../config.ts'
import type { TargetProblem } from '../protocol.ts'

const GOOD_MS = 30_000
/** A person who has mended something is watching. */
const BAD_MS = 5000

interface Probed {
  target: string
  result: TargetProblem | 'reachable' | undefined
  timer: NodeJS.Timeout | undefined
}

export class TargetProbes {
  readonly #probe: (target: TargetConfig) => Promise<TargetProblem | undefined>
  readonly #probed = new Map<string, Probed>()

  constructor(probe: (target: TargetConfig) => Promise<TargetProblem | undefined>) {
    this.#probe = probe
  }

  results(): Record<string, TargetProblem | 'reachable'> {
    return Object.fromEntries([...this.#probed].flatMap(([access, { result }]) => (result === undefined ? [] : [[access, result]])))
  }

  update(accesses: readonly AccessConfig[]): void {
    const keys = new Set(accesses.map(accessKey))
    for (const [access, { timer }] of this.#probed) {
      if (keys.has(access)) continue
      clearTimeout(timer)
      this.#probed.delete(access)
    }
    for (const access of accesses) {
      const target = JSON.stringify(access.target)
      const known = this.#probed.get(accessKey(access))
      if (known?.target === target) continue
      clearTimeout(known?.timer)
      const probed: Probed = { target, result: undefined, timer: undefined }
      this.#probed.set(accessKey(access), probed)
      void this.#again(probed, access.target)
    }
  }

  stop(): void {
    for (const { timer } of this.#probed.values()) clearTimeout(timer)
    this.#probed.clear()
  }

  async #again(probed: Probed, target: TargetConfig): Promise<void> {
    probed.result = await this.#probe(target).then(
      (problem) => problem ?? 'reachable',
      (error: unknown) => ({ reason: 'Unreachable', message: error instanceof Error ? error.message : String(error) }),
    )
    if ([...this.#probed.values()].includes(probed))
      probed.timer = setTimeout(() => void this.#again(probed, target), probed.result === 'reachable' ? GOOD_MS : BAD_MS).unref()
  }
}
