// The target's messages, as PostgreSQL documentation 54.7 lays them out.
import { errorFields, FieldReader } from './wire.ts'

/** Message types (54.7), by the letter that each is on the wire. */
export const BACKEND = {
  parseComplete: 0x31,
  bindComplete: 0x32,
  closeComplete: 0x33,
  notification: 0x41,
  commandComplete: 0x43,
  dataRow: 0x44,
  error: 0x45,
  copyIn: 0x47,
  copyOut: 0x48,
  emptyQuery: 0x49,
  notice: 0x4e,
  parameterStatus: 0x53,
  rowDescription: 0x54,
  functionCall: 0x56,
  ready: 0x5a,
  copyDone: 0x63,
  copyData: 0x64,
  noData: 0x6e,
  portalSuspended: 0x73,
  parameterDescription: 0x74,
} as const

/** ParameterDescription: count (2), type OIDs (4 each). */
export function typeOids(bytes: Buffer, start: number, end: number): number[] {
  const fields = new FieldReader(bytes, start, end)
  return Array.from({ length: fields.count() }, () => fields.uint32())
}

/** The connection ends behind it. `V` is the severity that is never translated (54.8). */
export function isFatal(body: Buffer): boolean {
  const severity = errorFields(body).get('V')
  return severity === 'FATAL' || severity === 'PANIC'
}
