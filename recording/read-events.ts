// The events of a session, for those who read it: shown as they are, judged by verify alone.
import type { Event } from './event.generated.ts'
import type { SessionLocation } from './layout.ts'
import { EvidenceError, listFolder, readPart } from './read-lines.ts'
import type { EvidenceReader } from './store.ts'

/** Each event with the stored bytes it was read from. @throws EvidenceError where an object is unreadable. */
export async function* readEvents(store: EvidenceReader, location: SessionLocation): AsyncGenerator<{ event: Event; bytes: Buffer }> {
  const { parts } = await listFolder(store, location.folder)
  for (const part of parts) {
    for await (const lines of readPart(store, part)) {
      for (const bytes of lines) yield { event: decode(bytes, part.key), bytes }
    }
  }
}

function decode(bytes: Buffer, key: string): Event {
  try {
    const event: unknown = JSON.parse(bytes.toString('utf8'))
    if (typeof event === 'object' && event !== null && 'kind' in event && 'seq' in event) return event as Event
  } catch {
    // said below
  }
  throw new EvidenceError(key, 'a line is not an event; `kubectl agentaccess verify` says more')
}
