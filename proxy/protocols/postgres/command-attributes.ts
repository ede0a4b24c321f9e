// A command's text and values, as the record has them.
import type { Attributes } from '../../record/session-record.ts'
import { decodeParameter } from './decode-text.ts'
import type { Value } from './frontend-messages.ts'
import type { Analysis } from './sql/analyse.ts'
import { redactPasswords } from './sql/redact.ts'

/** `binary`: the text is not UTF-8, and stands byte for byte as Latin-1. */
export function textAttributes(text: string, binary: boolean, { operations, unreadable: why }: Analysis): Attributes {
  return {
    'db.query.text': redactPasswords(text),
    ...(binary ? { 'agentaccess.query.encoding': 'not UTF-8: each byte as its Latin-1 character' } : {}),
    ...(operations.length === 1 ? { 'db.operation.name': operations[0] } : {}),
    'agentaccess.operations': operations,
    ...(why === undefined ? {} : { 'agentaccess.unreadable': why }),
  }
}

/** Bound values; `types`: their OIDs, as far as they are known. */
export function parameterAttributes(values: readonly Value[], types: readonly number[]): Attributes {
  if (values.length === 0) return {}
  return { 'agentaccess.parameters': values.map((value, i) => value && decodeParameter(value.bytes, value.binary, types[i] ?? 0)) }
}
