// replay: a session as it happened.
import { setTimeout as pause } from 'node:timers/promises'
import { readEvents } from '@agentaccess/recording'
import { findSession, openEvidence } from '../evidence-option.ts'
import { line } from './show.ts'

export async function replay(session: string, options: { evidence?: string; speed: number }): Promise<void> {
  const store = await openEvidence(options.evidence)
  const location = await findSession(store, session)
  const began = performance.now()
  let start: number | undefined
  for await (const { event } of readEvents(store, location)) {
    const time = Date.parse(event.time)
    start ??= time
    if (event.kind === 'checkpoint') continue
    const wait = (time - start) / options.speed - (performance.now() - began)
    if (wait > 1) await pause(wait)
    console.log(line(event, start))
  }
}
