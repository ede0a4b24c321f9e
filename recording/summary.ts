// What a session comes to, folded from its events: the index object, a row of `sessions`, and what adoption has to close.
import type { Event } from './event.generated.ts'

export interface SessionSummary {
  session: string
  namespace: string
  access: string
  agent: string
  proof: string
  task: string
  target: string
  started: string
  ended?: string
  endedBy?: string
  /** Of the last event. */
  time: string
  commands: number
  denied: number
  errors: number
  rows: number
  /** Commands and statements that can still get a result: `seq`, and whether it is a command. */
  open: number[]
  /** `through` of the last checkpoint. */
  signedThrough: number
}

export function newSummary(session: string, namespace: string): SessionSummary {
  return {
    session,
    namespace,
    access: '',
    agent: '',
    proof: '',
    task: '',
    target: '',
    started: '',
    time: '',
    commands: 0,
    denied: 0,
    errors: 0,
    rows: 0,
    open: [],
    signedThrough: 0,
  }
}

const text = (attributes: Record<string, unknown>, name: string): string => {
  const value = attributes[name]
  return typeof value === 'string' ? value : ''
}

/** Folds one event in. Changes and returns the summary. */
export function foldEvent(summary: SessionSummary, event: Event): SessionSummary {
  summary.time = event.time
  switch (event.kind) {
    case 'session.started': {
      const { attributes } = event
      summary.started = event.time
      summary.access = text(attributes, 'agentaccess.access')
      summary.agent = text(attributes, 'gen_ai.agent.name')
      summary.proof = text(attributes, 'agentaccess.agent.proof')
      summary.task = text(attributes, 'agentaccess.task')
      summary.target = text(attributes, 'agentaccess.target')
      break
    }
    case 'command':
      summary.commands++
      summary.open.push(event.seq)
      break
    case 'result':
      if (event.status === 'denied') summary.denied++
      else if (event.status === 'error') summary.errors++
      summary.rows += typeof event.attributes?.['db.response.returned_rows'] === 'number' ? event.attributes['db.response.returned_rows'] : 0
      if (event.final) {
        const at = summary.open.indexOf(event.command)
        if (at !== -1) summary.open.splice(at, 1)
      }
      break
    case 'task.changed':
      summary.task = text(event.attributes, 'agentaccess.task')
      break
    case 'connection.refused':
      summary.denied += event.count
      break
    case 'checkpoint':
      summary.signedThrough = event.through
      break
    case 'session.ended':
      summary.ended = event.time
      summary.endedBy = event.by
      summary.open = []
      break
    case 'statement':
    case 'execute':
    case 'decision':
    case 'output':
    case 'output.capped':
    case 'cancel':
    case 'policy.changed':
    case 'gap':
      break
    default:
      // A kind of a later version; `satisfies never` would keep this version from reading it.
      break
  }
  return summary
}
