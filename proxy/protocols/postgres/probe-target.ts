// Whether sessions could begin: the target is reached, verified and logged in to, as for an agent, and left again.
import type { PostgresTarget } from '../../config.ts'
import type { TargetProblem } from '../../protocol.ts'
import { connectTarget, startTarget, TargetError } from './connect-target.ts'
import { message } from './wire.ts'

/** The database that every server has, where the access names none. */
const ANY_DATABASE = 'postgres'
const parameters = new Map([['application_name', 'agentaccess-probe']])

export async function probeTarget(target: PostgresTarget): Promise<TargetProblem | undefined> {
  try {
    const connection = await connectTarget(target)
    await startTarget(connection, target, target.database ?? ANY_DATABASE, parameters)
    connection.socket.end(message('X'))
    return undefined
  } catch (error) {
    if (!(error instanceof TargetError)) throw error
    const { sqlstate, message: text, detail, hint } = error.response
    return { reason: reasonOf(sqlstate, text), message: [text, detail, hint].filter((part) => part !== undefined).join('. ') }
  }
}

/** SQLSTATE classes: 08 connection exception, 28 invalid authorization. */
function reasonOf(sqlstate: string, text: string): TargetProblem['reason'] {
  if (text.startsWith('TLS ')) return 'TLSFailed'
  if (sqlstate.startsWith('28') || /password|credential/.test(text)) return 'CredentialsRefused'
  return sqlstate === '08001' ? 'Unreachable' : 'Refused'
}
