// What of a protobuf body can be read without knowing its kind: every object of the API has its ObjectMeta in field 1.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding-idl, k8s.io/apimachinery generated.proto

export const PROTOBUF_MAGIC = Buffer.from('k8s\0')

export interface ProtobufObject {
  apiVersion: string
  kind: string
  name: string
  labels: Record<string, string>
}

/** Fields of runtime.Unknown, TypeMeta and ObjectMeta. */
const UNKNOWN = { typeMeta: 1, raw: 2, contentEncoding: 3 } as const
const TYPE_META = { apiVersion: 1, kind: 2 } as const
const METADATA = 1
const OBJECT_META = { name: 1, labels: 11 } as const
const LENGTH_DELIMITED = 2

/** @throws SyntaxError where it is not what the API's encoding says */
export function readProtobuf(bytes: Buffer): ProtobufObject {
  if (!bytes.subarray(0, PROTOBUF_MAGIC.length).equals(PROTOBUF_MAGIC)) throw new SyntaxError('it does not begin as protobuf of Kubernetes does')
  const unknown = fields(bytes.subarray(PROTOBUF_MAGIC.length))
  if (last(unknown, UNKNOWN.contentEncoding).length > 0) throw new SyntaxError('it is encoded once more')
  const type = fields(last(unknown, UNKNOWN.typeMeta))
  const metas = fields(last(unknown, UNKNOWN.raw)).filter(({ number }) => number === METADATA)
  // A field that is there twice is merged by who reads it: here, too.
  const meta = metas.flatMap(({ value }) => fields(value))
  const labels = meta.filter(({ number }) => number === OBJECT_META.labels).map(({ value }) => fields(value))
  return {
    apiVersion: last(type, TYPE_META.apiVersion).toString('utf8'),
    kind: last(type, TYPE_META.kind).toString('utf8'),
    name: last(meta, OBJECT_META.name).toString('utf8'),
    labels: Object.fromEntries(labels.map((entry) => [last(entry, 1).toString('utf8'), last(entry, 2).toString('utf8')])),
  }
}

interface Field {
  number: number
  value: Buffer
}

const NOTHING = Buffer.alloc(0)

const last = (from: readonly Field[], number: number): Buffer => from.findLast((field) => field.number === number)?.value ?? NOTHING

/** The fields of a message that have a length. https://protobuf.dev/programming-guides/encoding/ */
function fields(bytes: Buffer): Field[] {
  const found: Field[] = []
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined) break
      // Beyond 2⁵³ a number is of no field's length: it only has to be passed over.
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new SyntaxError('a protobuf number does not end')
  }
  while (at < bytes.length) {
    const key = varint()
    const [number, type] = [Math.floor(key / 8), key % 8]
    if (type === 0) varint()
    else if (type === 1 || type === 5) at += type === 1 ? 8 : 4
    else if (type === LENGTH_DELIMITED) {
      const length = varint()
      if (at + length > bytes.length) throw new SyntaxError('a protobuf field is longer than its message')
      found.push({ number, value: bytes.subarray(at, at + length) })
      at += length
    } else throw new SyntaxError(`a protobuf field has the unknown type ${type}`)
    if (at > bytes.length) throw new SyntaxError('a protobuf field is longer than its message')
  }
  return found
}
