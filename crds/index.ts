export type * from './agentaccess.generated.ts'
export { agentAccessSchema, apiVersion, crdPath, kind } from './schema.ts'
export { fieldError, formatPath, validateAgentAccess, type FieldError, type Validated } from './validate.ts'
