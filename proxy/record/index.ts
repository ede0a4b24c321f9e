export { Door } from './door.ts'
export { lockSpool } from './lock.ts'
export { Recorder } from './recorder.ts'
export { Spool, type SpoolDisk } from './spool.ts'
