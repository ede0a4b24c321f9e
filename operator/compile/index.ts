export { compileAccess, type Compiled, type SecretLookup } from './compile.ts'
export { expressionErrors } from './expressions.ts'
export type { Ability } from './unenforced.ts'
