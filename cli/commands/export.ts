// export: the events as they are stored, for other programs.
import { readEvents } from '@agentaccess/recording'
import { findSession, openEvidence } from '../evidence-option.ts'

export async function exportSession(session: string, options: { evidence?: string }): Promise<void> {
  const store = await openEvidence(options.evidence)
  for await (const { bytes } of readEvents(store, await findSession(store, session))) {
    if (!process.stdout.write(Buffer.concat([bytes, newline]))) await new Promise((resolve) => process.stdout.once('drain', resolve))
  }
}

const newline = Buffer.from('\n')
