// show: every command of a session in order.
import { readEvents, timestamp, type Event } from '@agentaccess/recording'
import { describeEvent } from '../describe-event.ts'
import { findSession, openEvidence } from '../evidence-option.ts'

export async function show(session: string, options: { evidence?: string; output: 'text' | 'json' }): Promise<void> {
  const store = await openEvidence(options.evidence)
  const location = await findSession(store, session)
  let start: number | undefined
  for await (const { event, bytes } of readEvents(store, location)) {
    if (options.output === 'json') {
      process.stdout.write(`${bytes.toString('utf8')}\n`)
      continue
    }
    start ??= startLine(location.session, event)
    // Signatures are for verify.
    if (event.kind !== 'checkpoint') console.log(line(event, start))
  }
}

function startLine(session: string, event: Event): number {
  console.log(`session ${session}, ${timestamp(Date.parse(event.time))}`)
  return Date.parse(event.time)
}

export function line(event: Event, start: number): string {
  const { what, text, command } = describeEvent(event)
  const offset = `+${((Date.parse(event.time) - start) / 1000).toFixed(3)}s`.padStart(10)
  const indent = `${' '.repeat(10)}  ${' '.repeat(5)}  ${' '.repeat(14)}  `
  return `${offset}  ${(command > 0 ? `#${command}` : '').padStart(5)}  ${what.padEnd(14)}  ${text.replaceAll('\n', `\n${indent}`)}`.trimEnd()
}
