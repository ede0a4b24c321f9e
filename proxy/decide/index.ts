export { Policy, type BuiltInDeny, type Decision, type Facts } from './policy.ts'
