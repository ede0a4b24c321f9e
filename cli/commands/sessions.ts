// sessions: one line for each session, the newest first.
import {
  findSessions,
  foldEvent,
  indexName,
  newSummary,
  readEvents,
  type EvidenceReader,
  type SessionLocation,
  type SessionSummary,
} from '@agentaccess/recording'
import { parseDuration } from '../duration.ts'
import { openEvidence } from '../evidence-option.ts'
import { printable, table } from '../printable.ts'

export interface SessionsOptions {
  evidence?: string
  agent?: string
  task?: string
  access?: string
  since?: string
  denied?: boolean
  output: 'table' | 'json'
}

export async function sessions(options: SessionsOptions): Promise<void> {
  const store = await openEvidence(options.evidence)
  const since = options.since === undefined ? 0 : Date.now() - parseDuration(options.since, '--since')
  const found: SessionSummary[] = []
  for (const location of await findSessions(store)) {
    const summary = await summarize(store, location)
    if (matches(summary, options) && Date.parse(summary.started) >= since) found.push(summary)
  }
  found.sort((a, b) => (a.started < b.started ? 1 : -1))
  if (options.output === 'json') for (const { open: _open, signedThrough: _signed, ...summary } of found) console.log(JSON.stringify(summary))
  else if (found.length === 0) console.log('no sessions')
  else console.log(table([HEAD, ...found.map(row)]))
}

const HEAD = ['SESSION', 'STARTED', 'AGENT', 'TASK', 'ACCESS', 'COMMANDS', 'DENIED', 'ERRORS', 'ENDED']

function row(summary: SessionSummary): string[] {
  const { session, started, agent, task, access, commands, denied, errors, endedBy } = summary
  return [
    session,
    started.slice(0, 19).replace('T', ' '),
    agent || '(door)',
    task || '-',
    access,
    String(commands),
    String(denied),
    String(errors),
    endedBy ? `by ${endedBy}` : 'not yet',
  ].map((cell) => printable(cell))
}

function matches(summary: SessionSummary, { agent, task, access, denied }: SessionsOptions): boolean {
  return (
    (agent === undefined || summary.agent === agent) &&
    (task === undefined || summary.task === task) &&
    (access === undefined || summary.access === access) &&
    (!denied || summary.denied > 0)
  )
}

/** From the index where the session has ended, else from its events: the index is a short cut, and may be missing. */
async function summarize(store: EvidenceReader, location: SessionLocation): Promise<SessionSummary> {
  const indexed = await store.read(indexName(location.namespace, location.session))
  if (indexed) {
    try {
      const summary = JSON.parse(indexed.toString('utf8')) as SessionSummary
      if (summary.session === location.session) return { ...newSummary(location.session, location.namespace), ...summary }
    } catch {
      // Rebuilt from the events.
    }
  }
  const summary = newSummary(location.session, location.namespace)
  try {
    for await (const { event } of readEvents(store, location)) foldEvent(summary, event)
  } catch {
    // As far as it can be read; `verify` says what is wrong.
  }
  return summary
}
