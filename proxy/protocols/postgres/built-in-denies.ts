// What is denied before any rule of the user: what would turn the injected role against the record, or make a text mean
// something else than what was judged.
import type { BuiltInDeny } from '../../decide/policy.ts'
import { isReadableEncoding } from './encodings.ts'
import type { Analysis } from './sql/facts.ts'

/** `injected`: the names of the role that is not to be changed. `hasRules`: whether there is anything that a statement could be hiding from. */
export function builtInDeny(
  { rolesChanged, encodings, facts, unrecordable }: Analysis,
  injected: readonly string[],
  hasRules: boolean,
): BuiltInDeny | undefined {
  if (unrecordable !== undefined)
    return { rule: 'built-in/cannot-record', message: `it can't be told what of this command may be recorded, so it is not let through: ${unrecordable}` }
  const login = 'the password, validity or membership of the role that the proxy logs in as'
  if (rolesChanged.some((role) => role === 'CURRENT_USER' || role === 'SESSION_USER' || injected.includes(role)))
    return { rule: 'built-in/injected-role', message: `this would change ${login}` }
  if (rolesChanged.includes('*'))
    return { rule: 'built-in/injected-role', message: `this speaks of roles, and can't be read in full: it could change ${login}` }
  const encoding = encodings.find((name) => !isReadableEncoding(name))
  if (encoding !== undefined)
    return {
      rule: 'built-in/client-encoding',
      message: `client_encoding ${encoding === '*' ? 'can only be set to a value that the text names' : JSON.stringify(encoding)}: only UTF8 and SQL_ASCII are let through`,
    }
  if (hasRules && facts.opaque.includes('set_config'))
    return { rule: 'built-in/computed-setting', message: 'rules are in force here, and the name of a setting is computed: name it in the text' }
  return undefined
}
