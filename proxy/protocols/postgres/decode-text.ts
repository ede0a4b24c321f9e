// Text and parameters as the record has them.
import { isUtf8 } from 'node:buffer'
import { uuidText } from '@agentaccess/recording'

export interface DecodedText {
  text: string
  /** Whether it is not UTF-8: then each byte stands as the Latin-1 character of its value, so that none is lost. */
  binary: boolean
}

export function decodeText(bytes: Buffer): DecodedText {
  const text = bytes.toString('utf8')
  // What is not UTF-8 decodes to replacement characters; only then is it worth asking.
  if (!text.includes('\ufffd') || isUtf8(bytes)) return { text, binary: false }
  return { text: bytes.toString('latin1'), binary: true }
}

export type ParameterValue = string | number | boolean | null | { hex: string }

/** pg_type.oid of the types whose binary form is read. */
const OID = {
  bool: 16,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  json: 114,
  float4: 700,
  float8: 701,
  bpchar: 1042,
  varchar: 1043,
  name: 19,
  uuid: 2950,
} as const
const TEXTS: ReadonlySet<number> = new Set([OID.text, OID.json, OID.bpchar, OID.varchar, OID.name])

/** A bound value. Binary ones are decoded where the type is known, else given as hex. */
export function decodeParameter(bytes: Buffer, binary: boolean, type: number): ParameterValue {
  if (!binary) {
    const { text, binary: notUtf8 } = decodeText(bytes)
    return notUtf8 ? { hex: bytes.toString('hex') } : text
  }
  if (TEXTS.has(type) && isUtf8(bytes)) return bytes.toString('utf8')
  switch (`${type}/${bytes.length}`) {
    case `${OID.bool}/1`:
      return bytes[0] !== 0
    case `${OID.int2}/2`:
      return bytes.readInt16BE()
    case `${OID.int4}/4`:
      return bytes.readInt32BE()
    case `${OID.int8}/8`:
      return bytes.readBigInt64BE().toString()
    case `${OID.float4}/4`:
      return finite(bytes.readFloatBE())
    case `${OID.float8}/8`:
      return finite(bytes.readDoubleBE())
    case `${OID.uuid}/16`:
      return uuidText(bytes.toString('hex'))
    default:
      return { hex: bytes.toString('hex') }
  }
}

/** JSON has no NaN and no infinity. */
const finite = (value: number): number | string => (Number.isFinite(value) ? value : String(value))
