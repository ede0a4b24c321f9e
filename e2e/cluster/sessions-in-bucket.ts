// What is in the bucket, for tests: read as anyone with the right to read would.
import { findSessions, readEvents, type Event } from '@agentaccess/recording'
import { S3Reader } from '@agentaccess/recording/s3'
import { BUCKET, ENDPOINT, readerCredentials } from './bucket.ts'
import { eventually, run, type Ran } from './kubectl.ts'

const place = { bucket: BUCKET, prefix: '', endpoint: ENDPOINT, region: 'us-east-1', credentials: readerCredentials, objectLock: 'none' } as const

interface Found {
  events: Event[]
  /** All of them, to be searched. */
  text: string
}

/** Sessions that have ended: nothing comes to them, and they may be large. */
const ended = new Map<string, Found>()

/** Sessions in the bucket, the oldest first; door sessions with `doors`. */
async function sessions({ doors = false } = {}): Promise<Found[]> {
  const store = new S3Reader(place)
  const all: Found[] = []
  for (const location of await findSessions(store)) {
    const found = ended.get(location.session) ?? (await read(store, location))
    const { events } = found
    if (events.some(({ kind }) => kind === 'session.ended')) ended.set(location.session, found)
    if (events[0]?.kind === 'session.started' && (events[0].attributes['agentaccess.door'] === true) === doors) all.push(found)
  }
  return all.sort((a, b) => (a.events[0]!.session < b.events[0]!.session ? -1 : 1))
}

async function read(store: S3Reader, location: Awaited<ReturnType<typeof findSessions>>[number]): Promise<Found> {
  const events: Event[] = []
  for await (const { event } of readEvents(store, location)) events.push(event)
  return { events, text: JSON.stringify(events) }
}

export const startOf = (events: readonly Event[]): Record<string, unknown> => (events[0]?.kind === 'session.started' ? events[0].attributes : {})

/** The session in which this text was sent, once it has ended. */
export function sessionWith(text: string, seconds = 30): Promise<Event[]> {
  return eventually(
    `an ended session with ${text}`,
    async () => (await sessions()).find((found) => ended.has(found.events[0]!.session) && found.text.includes(text))?.events,
    seconds,
  )
}

/** A refusal at the door that says this. */
export function refusalWith(text: string, seconds = 30): Promise<Event> {
  return eventually(
    `a refusal with ${text}`,
    async () =>
      (await sessions({ doors: true }))
        .flatMap(({ events }) => events)
        .find((event) => event.kind === 'connection.refused' && JSON.stringify(event).includes(text)),
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
