// What a protocol is built on, and what one needs to serve an access: the other side of protocol.ts.
export type { Decision } from './decide/policy.ts'
export { Agents } from './identify/agents.ts'
export type { Access, Protocol } from './protocol.ts'
export { Door } from './record/door.ts'
export { Session } from './session.ts'
export { Sessions } from './sessions.ts'
