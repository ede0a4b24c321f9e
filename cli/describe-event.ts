// One event in words, for show and replay.
import type { Event } from '@agentaccess/recording'
import { printable } from './printable.ts'

export interface Described {
  /** The command that the line belongs to, or 0. */
  command: number
  /** One word, or few. */
  what: string
  text: string
}

type Attributes = Record<string, unknown>

const value = (attributes: Attributes | undefined, name: string): string | undefined => {
  const found = attributes?.[name]
  return found === undefined ? undefined : typeof found === 'string' ? found : JSON.stringify(found)
}

/** The text of a command, or where it is when it is too long for a line. */
function commandText(attributes: Attributes): string {
  const text = value(attributes, 'db.query.text') ?? value(attributes, 'agentaccess.command.text')
  const blob = value(attributes, 'db.query.text.blob')
  const parameters = value(attributes, 'agentaccess.parameters')
  const bytes = value(attributes, 'agentaccess.command.bytes')
  const body =
    text ??
    (blob
      ? `(${value(attributes, 'db.query.text.bytes')} bytes, in blobs/${blob})`
      : bytes
        ? `(${bytes} bytes)`
        : (value(attributes, 'db.operation.name') ?? ''))
  return parameters === undefined ? body : `${body}  -- ${parameters}`
}

const seconds = (ms: number | undefined) => (ms === undefined ? '' : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(1)} ms`)

const plural = (count: number, word: string) => `${count} ${word}${count === 1 ? '' : 's'}`

function result(event: Extract<Event, { kind: 'result' }>): string {
  const { attributes } = event
  const rows = value(attributes, 'db.response.returned_rows')
  const parts = [
    value(attributes, 'agentaccess.command.tag'),
    rows === undefined ? undefined : plural(Number(rows), 'row'),
    event.copy ? `${event.copy.bytes} bytes ${event.copy.direction}, sha256 ${event.copy.sha256.slice(0, 16)}…` : undefined,
    value(attributes, 'db.response.status_code') ?? value(attributes, 'http.response.status_code'),
    value(attributes, 'agentaccess.error.message'),
    value(attributes, 'agentaccess.rule') ? `by rule ${value(attributes, 'agentaccess.rule')}` : undefined,
    seconds(event.durationMs),
  ]
  return parts.filter((part) => part !== undefined && part !== '').join(' · ')
}

export function describeEvent(event: Event): Described {
  const say = (what: string, text: string, command = 0): Described => ({ command, what: printable(what), text: printable(text, true) })
  switch (event.kind) {
    case 'session.started': {
      const a = event.attributes
      return a['agentaccess.door'] === true
        ? say('started', `door of ${value(a, 'agentaccess.access')}: connections that did not become sessions`)
        : say(
            'started',
            `agent ${value(a, 'gen_ai.agent.name')} (${value(a, 'agentaccess.agent.standing')} by ${value(a, 'agentaccess.agent.proof')}), task ${value(a, 'agentaccess.task') ?? '-'}, at ${value(a, 'agentaccess.access')}, from ${value(a, 'client.address')}, to ${value(a, 'agentaccess.target')}`,
          )
    }
    case 'statement':
      return say('prepare', commandText(event.attributes), event.seq)
    case 'command':
      return say('command', commandText(event.attributes), event.command)
    case 'execute':
      return say('execute', `again or later: command ${event.command}`, event.command)
    case 'decision':
      return say(
        event.action === 'deny' ? 'DENIED' : 'ALERT',
        `by rule ${event.rule}${event.message === undefined ? '' : `: ${event.message}`}`,
        event.command ?? 0,
      )
    case 'result':
      return say(event.statement === undefined ? event.status : `${event.status} (${event.statement})`, result(event), event.command)
    case 'output':
      return say('output', `${Buffer.from(event.data, 'base64').length} bytes`, event.command)
    case 'output.capped':
      return say('capped', 'what follows is not in the record', event.command)
    case 'cancel':
      return say('cancel', `from ${value(event.attributes, 'client.address')}`)
    case 'connection.refused':
      return say(
        'refused',
        `${event.count === 1 ? '' : `${event.count} times until ${event.until}: `}${value(event.attributes, 'db.response.status_code')} ${value(event.attributes, 'agentaccess.error.message')} (${value(event.attributes, 'agentaccess.error.detail') ?? '-'}), from ${value(event.attributes, 'client.address')}`,
      )
    case 'task.changed':
      return say('task', `is now ${value(event.attributes, 'agentaccess.task')}`)
    case 'policy.changed':
      return say('policy', `is now revision ${event.revision}`)
    case 'gap':
      return say('GAP', event.reason)
    case 'checkpoint':
      return say('signed', `events up to ${event.through}, ${event.mode}`)
    case 'session.ended':
      return say(
        'ended',
        `by ${event.by}${event.reason === undefined ? '' : `: ${event.reason}`} · ${plural(event.totals.commands, 'command')}, ${event.totals.denied} denied, ${plural(event.totals.errors, 'error')}`,
      )
    default:
      return say((event as { kind: string }).kind, JSON.stringify(event))
  }
}
