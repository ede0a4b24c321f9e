export { compileRule } from './cel.ts'
export { Policy, type BuiltInDeny, type Decision } from './policy.ts'
export { noFacts, noResource } from './facts.ts'
