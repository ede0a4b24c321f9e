// What a client is told where a command does not go on, and by which rule.
import type { PostgresError } from './wire.ts'

/** The connection ends, and this is what the client is told. */
export abstract class FatalRefusal extends Error {
  readonly response: PostgresError

  constructor(response: Omit<PostgresError, 'severity'>) {
    super(response.message)
    this.response = { severity: 'FATAL', ...response }
  }
}

/** The session can't go on, whoever caused it. */
export class SessionRefused extends FatalRefusal {
  override readonly name = 'SessionRefused'
}

export interface Refusal {
  rule: string
  response: PostgresError
}

export function cannotRecord(why: string, session: string): PostgresError {
  return {
    severity: 'ERROR',
    sqlstate: '53100',
    message: `the command can't be recorded, so it is not let through: ${why}`,
    hint: `Try again later. Session ${session}.`,
  }
}

export function unknownName(what: string, name: string, sqlstate: string, stale = false): Refusal {
  const response: PostgresError = {
    severity: 'ERROR',
    sqlstate,
    message: `${what} "${name}" does not exist`,
    detail: stale
      ? 'Commands that ran since it was bound may have given its name to another portal, so the proxy does not run it.'
      : 'It was not made by a message of the protocol.',
    hint: 'What SQL prepares or declares is used with SQL: EXECUTE, FETCH.',
  }
  return { rule: 'built-in/unknown-name', response }
}
