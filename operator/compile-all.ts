// What becomes of each access of a namespace: a configuration, or what is wrong with it. One that is wrong harms no other.
import { compileAccess, expressionErrors, type Ability, type SecretLookup } from './compile/index.ts'
import { MAX_ACCESS_NAME, type StoredAccess } from './desired/names.ts'
import type { Outcome } from './status.ts'

export function compileAll(accesses: readonly StoredAccess[], secrets: SecretLookup, abilities: readonly Ability[]): Map<StoredAccess, Outcome> {
  return new Map(accesses.map((access) => [access, compileOne(access, secrets, abilities)]))
}

function compileOne(access: StoredAccess, secrets: SecretLookup, abilities: readonly Ability[]): Outcome {
  const { apiVersion, kind, metadata, spec } = access
  const { name, namespace } = metadata
  if (name.length > MAX_ACCESS_NAME || name.includes('.'))
    return {
      errors: [`metadata.name: Invalid value: ${JSON.stringify(name)}: at most ${MAX_ACCESS_NAME} characters and no dot, since its Service is named after it`],
    }
  try {
    const compiled = compileAccess({ apiVersion, kind, metadata: { name, namespace }, spec }, secrets, abilities)
    const errors = 'errors' in compiled ? compiled.errors : expressionErrors(compiled.config)
    return 'config' in compiled && errors.length === 0 ? { config: compiled.config } : { errors: errors.map(({ message }) => message) }
  } catch (error) {
    return { errors: [`it can't be compiled: ${error instanceof Error ? error.message : String(error)}`] }
  }
}
