import { UsageError } from './manifests.ts'

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of `500ms`, `30s`, `15m`, `24h`, `90d`. @throws UsageError */
export function parseDuration(text: string, option: string): number {
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text)
  if (!match) throw new UsageError(`${option} ${text}: expected a duration, such as 30s, 15m or 24h`)
  return Number(match[1]) * UNITS[match[2]!]!
}
