export { compileAccess, type Compiled, type SecretLookup } from './compile.ts'
