// A session as a trace: folds its events into spans. A short span when it starts, one for each command as it ends, the root
// when it ends. Ids follow from session and sequence, so that sending twice changes nothing.
import { createHash } from 'node:crypto'
import type { Event } from '@agentaccess/recording'

type Command = Extract<Event, { kind: 'command' | 'statement' }>
type Result = Extract<Event, { kind: 'result' }>
type Decision = Extract<Event, { kind: 'decision' }>

/** Times are milliseconds since the epoch. */
export interface Span {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  kind: 'server' | 'internal'
  start: number
  end: number
  attributes: Record<string, unknown>
  /** What went wrong; undefined: nothing. */
  error?: string
  /** The agent's own trace (W3C traceparent). */
  link?: { traceId: string; spanId: string }
}

export interface Log {
  traceId: string
  spanId: string
  time: number
  name: string
  severe: boolean
  attributes: Record<string, unknown>
}

/** What is known of a session whose root span has not been made yet; plain data, to be kept between steps. */
export interface TraceState {
  session: string
  start: number
  /** On every span: agent, task, access. */
  common: Record<string, unknown>
  started: Record<string, unknown>
  /** Commands without a final result, by sequence number. */
  open: Record<string, OpenCommand>
}

interface OpenCommand {
  start: number
  statement: boolean
  attributes: Record<string, unknown>
  rows: number
  decision?: { action: string; rule: string }
  error?: string
}

export interface Folded {
  spans: Span[]
  logs: Log[]
}

const COMMON = [
  'gen_ai.agent.name',
  'agentaccess.agent.proof',
  'agentaccess.task',
  'agentaccess.access',
  'k8s.namespace.name',
  'db.system.name',
  'db.namespace',
  'server.address',
  'server.port',
]
const NO_ERROR = new Set(['ok', 'skipped'])

/** Of a UUID, its sixteen bytes. */
const traceIdOf = (session: string): string => session.replaceAll('-', '')

/** 8 bytes of SHA-256 over the session's id and what the span is of. */
const spanIdOf = (session: string, of: string | number): string => createHash('sha256').update(`${session}:${of}`).digest('hex').slice(0, 16)

const ROOT = 'session'

/** Adds what an event comes to; `state` is changed in place. Returns the state: undefined once the session has ended, or where its beginning is not known. */
export function foldEvent(state: TraceState | undefined, event: Event, out: Folded): TraceState | undefined {
  const time = Date.parse(event.time)
  const known = event.kind === 'session.started' ? begin(event, time) : state
  if (!known) return undefined
  out.logs.push(logOf(known, event, time))
  switch (event.kind) {
    case 'session.started':
      out.spans.push(span(known, 'started', 'session started', time, time, { ...known.started, ...known.common }))
      break
    case 'command':
    case 'statement':
      known.open[event.seq] = opened(event, time)
      break
    case 'decision':
      decided(known, event)
      break
    case 'result':
      ended(known, event, time, out)
      break
    case 'task.changed':
      Object.assign(known.common, pick(event.attributes, ['agentaccess.task']))
      break
    case 'session.ended':
      out.spans.push(rootSpan(known, event, time))
      return undefined
    default:
      break
  }
  return known
}

function begin({ session, attributes }: Extract<Event, { kind: 'session.started' }>, time: number): TraceState {
  return { session, start: time, common: pick(attributes, COMMON), started: attributes, open: {} }
}

const pick = (attributes: Record<string, unknown>, names: readonly string[]) =>
  Object.fromEntries(names.flatMap((name) => (attributes[name] === undefined ? [] : [[name, attributes[name]]])))

const opened = ({ kind, attributes }: Command, start: number): OpenCommand => ({ start, statement: kind === 'statement', attributes, rows: 0 })

function decided({ open }: TraceState, { command, action, rule }: Decision): void {
  const found = command === undefined ? undefined : open[command]
  if (found) found.decision = { action, rule }
}

function ended(state: TraceState, { command, status, final, attributes = {} }: Result, time: number, out: Folded): void {
  const found = state.open[command]
  if (!found) return
  const rows = attributes['db.response.returned_rows']
  if (typeof rows === 'number') found.rows += rows
  if (!NO_ERROR.has(status)) found.error = textOf(attributes['agentaccess.error.message']) ?? status
  if (!final) return
  delete state.open[command]
  const { start, attributes: of, decision, error } = found
  const operation = textOf(of['db.operation.name']) ?? textOf(of['agentaccess.command.text'])?.split(' ')[0] ?? (found.statement ? 'PREPARE' : 'command')
  const made = span(state, command, operation, start, Math.max(start, time), {
    ...state.common,
    ...of,
    ...attributes,
    ...(found.rows > 0 ? { 'db.response.returned_rows': found.rows } : {}),
    'agentaccess.command': command,
    'agentaccess.status': status,
    ...(decision ? { 'agentaccess.decision': decision.action, 'agentaccess.rule': decision.rule } : {}),
  })
  out.spans.push(error === undefined ? made : { ...made, error })
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : undefined)

function rootSpan(state: TraceState, { by, reason, totals }: Extract<Event, { kind: 'session.ended' }>, time: number): Span {
  const { session, start, started, common } = state
  const name = `session ${textOf(common['agentaccess.access']) ?? ''}`.trim()
  const attributes = {
    ...started,
    ...common,
    'agentaccess.ended.by': by,
    ...(reason === undefined ? {} : { 'agentaccess.ended.reason': reason }),
    'agentaccess.totals.commands': totals.commands,
    'agentaccess.totals.denied': totals.denied,
    'agentaccess.totals.errors': totals.errors,
    'agentaccess.totals.rows': totals.rows,
  }
  return {
    traceId: traceIdOf(session),
    spanId: spanIdOf(session, ROOT),
    name,
    kind: 'server',
    start,
    end: time,
    attributes,
    ...linkOf(state),
    ...(by === 'interrupted' ? { error: 'interrupted' } : {}),
  }
}

function span(state: TraceState, of: string | number, name: string, start: number, end: number, attributes: Record<string, unknown>): Span {
  const { session } = state
  return {
    traceId: traceIdOf(session),
    spanId: spanIdOf(session, of),
    parentSpanId: spanIdOf(session, ROOT),
    name,
    kind: 'internal',
    start,
    end,
    attributes: { ...attributes, 'agentaccess.session': session },
    ...(of === 'started' ? linkOf(state) : {}),
  }
}

/** https://www.w3.org/TR/trace-context/#traceparent-header */
function linkOf({ started }: TraceState): Pick<Span, 'link'> {
  const given = started['agentaccess.traceparent']
  const match = typeof given === 'string' ? /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/.exec(given) : null
  return match ? { link: { traceId: match[1]!, spanId: match[2]! } } : {}
}

const SEVERE = new Set(['denied', 'error', 'outcome unknown'])

function logOf(state: TraceState, event: Event, time: number): Log {
  const { session, common } = state
  const { kind, seq, attributes } = event
  const command = typeof event.command === 'number' ? event.command : undefined
  const [status, action, rule] = [textOf(event.status), textOf(event.action), textOf(event.rule)]
  return {
    traceId: traceIdOf(session),
    spanId: spanIdOf(session, command ?? (kind === 'statement' ? seq : ROOT)),
    time,
    name: `agentaccess.${kind}`,
    severe: action === 'deny' || (status !== undefined && SEVERE.has(status)) || kind === 'connection.refused',
    attributes: {
      ...common,
      ...(typeof attributes === 'object' ? attributes : {}),
      'agentaccess.session': session,
      'agentaccess.seq': seq,
      ...(command === undefined ? {} : { 'agentaccess.command': command }),
      ...(status === undefined ? {} : { 'agentaccess.status': status }),
      ...(action === undefined ? {} : { 'agentaccess.decision': action }),
      ...(rule === undefined ? {} : { 'agentaccess.rule': rule }),
    },
  }
}
