// What the schema can't check: that expressions and patterns compile.
import { fieldError, type FieldError } from '@agentaccess/crds'
import type { AccessConfig } from '@agentaccess/proxy/config'
import { compileRule } from '@agentaccess/proxy/decide'
import { Redactor } from '@agentaccess/proxy/redact'

/** Every rule and pattern that does not compile. */
export function expressionErrors({ policy, recording }: AccessConfig): FieldError[] {
  const check = (path: (string | number)[], compile: () => unknown): FieldError[] => {
    try {
      compile()
      return []
    } catch (error) {
      return [fieldError(path, error instanceof Error ? error.message : String(error))]
    }
  }
  return [
    ...policy.rules.flatMap((rule, i) => check(['spec', 'policy', 'rules', i, 'when'], () => compileRule(rule))),
    ...recording.redact.flatMap((pattern, i) => check(['spec', 'recording', 'redact', i], () => new Redactor([pattern]))),
  ]
}
