// What is in the bucket, for tests: read as anyone with the right to read would.
import { findSessions, readEvents, type Event } from '@agentaccess/recording'
import { S3Reader } from '@agentaccess/recording/s3'
import { BUCKET, ENDPOINT, readerCredentials } from './bucket.ts'
import { eventually, run, type Ran } from './kubectl.ts'

const place = { bucket: BUCKET, prefix: '', endpoint: ENDPOINT, region: 'us-east-1', credentials: readerCredentials, objectLock: 'none' } as const

/** Sessions in the bucket, the oldest first; door sessions with `doors`. */
async function sessions({ doors = false } = {}): Promise<Event[][]> {
  const store = new S3Reader(place)
  const all: Event[][] = []
  for (const location of await findSessions(store)) {
    const events: Event[] = []
    for await (const { event } of readEvents(store, location)) events.push(event)
    if (events[0]?.kind === 'session.started' && (events[0].attributes['agentaccess.door'] === true) === doors) all.push(events)
  }
  return all.sort((a, b) => (a[0]!.session < b[0]!.session ? -1 : 1))
}

export const startOf = (events: readonly Event[]): Record<string, unknown> => (events[0]?.kind === 'session.started' ? events[0].attributes : {})

/** The session in which this text was sent, once it has ended. */
export function sessionWith(text: string, seconds = 30): Promise<Event[]> {
  return eventually(
    `an ended session with ${text}`,
    async () => (await sessions()).find((events) => events.some(({ kind }) => kind === 'session.ended') && JSON.stringify(events).includes(text)),
    seconds,
  )
}

/** A refusal at the door that says this. */
export function refusalWith(text: string, seconds = 30): Promise<Event> {
  return eventually(
    `a refusal with ${text}`,
    async () => (await sessions({ doors: true })).flat().find((event) => event.kind === 'connection.refused' && JSON.stringify(event).includes(text)),
    seconds,
  )
}

/** `kubectl agentaccess …`, as a person with the bucket's credentials runs it; where the evidence is, the cluster says. */
export function kubectlAgentaccess(...args: string[]): Promise<Ran> {
  const program = new URL('../../cli/kubectl-agentaccess.js', import.meta.url).pathname
  const { accessKeyId, secretAccessKey } = readerCredentials
  return run('env', [
    `AWS_ACCESS_KEY_ID=${accessKeyId}`,
    `AWS_SECRET_ACCESS_KEY=${secretAccessKey}`,
    'node',
    '--disable-warning=ExperimentalWarning',
    program,
    ...args,
  ])
}
