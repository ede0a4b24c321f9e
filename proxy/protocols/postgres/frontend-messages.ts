// Bodies of the agent's messages, as PostgreSQL documentation 54.7 lays them out.
import { ProtocolViolation, type FieldReader } from './wire.ts'

export interface ParseMessage {
  name: string
  query: Buffer
  /** Type OIDs; 0: the server finds out. */
  parameterTypes: number[]
}

/** Parse: statement name, query, count (2), type OIDs (4 each). */
export function decodeParse(fields: FieldReader): ParseMessage {
  const name = fields.cstring()
  const query = fields.cstringBytes()
  const parameterTypes: number[] = []
  for (let left = fields.count(); left > 0; left--) parameterTypes.push(fields.uint32())
  fields.done()
  return { name, query, parameterTypes }
}

export type Value = { bytes: Buffer; binary: boolean } | null

export interface BindMessage {
  portal: string
  statement: string
  values: Value[]
}

/** Bind: portal, statement, format codes (count 2, 2 each), values (count 2; length 4, bytes), result formats (count 2, 2 each). */
export function decodeBind(fields: FieldReader): BindMessage {
  const portal = fields.cstring()
  const statement = fields.cstring()
  const values = decodeValues(fields)
  for (let left = fields.count(); left > 0; left--) fields.int16()
  fields.done()
  return { portal, statement, values }
}

/** FunctionCall: function OID (4), format codes, values, result format (2). */
export function decodeFunctionCall(fields: FieldReader): { functionOid: number; values: Value[] } {
  const functionOid = fields.uint32()
  const values = decodeValues(fields)
  fields.int16()
  fields.done()
  return { functionOid, values }
}

/** One format code holds for all values, none means text. */
function decodeValues(fields: FieldReader): Value[] {
  const formats: number[] = []
  for (let left = fields.count(); left > 0; left--) formats.push(fields.int16())
  const values: Value[] = []
  const count = fields.count()
  for (let i = 0; i < count; i++) {
    const length = fields.int32()
    const format = formats.length > 1 ? formats[i] : formats[0]
    values.push(length === -1 ? null : { bytes: fields.bytes(length), binary: format === 1 })
  }
  return values
}

/** Execute: portal, most rows to return (4; 0: all). */
export function decodeExecute(fields: FieldReader): { portal: string; maxRows: number } {
  const portal = fields.cstring()
  const maxRows = fields.int32()
  fields.done()
  return { portal, maxRows }
}

/** Describe, Close: `S` or `P` (1), name. */
export function decodeNamed(fields: FieldReader): { kind: 'S' | 'P'; name: string } {
  const kind = String.fromCharCode(fields.int8())
  const name = fields.cstring()
  fields.done()
  if (kind !== 'S' && kind !== 'P') throw new ProtocolViolation(`Describe or Close of ${JSON.stringify(kind)}`)
  return { kind, name }
}
