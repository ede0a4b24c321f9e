// A command's text and values, as the record has them: JSON, put together from pieces, since this is on the path of every command.
import type { Redactor } from '../../record/redactor.ts'
import { decodeParameter } from './decode-text.ts'
import type { Value } from './frontend-messages.ts'
import type { Analysis } from './sql/facts.ts'
import type { StatementText } from './statement-text.ts'

/** What was understood of a text is remembered with its analysis; so is the JSON of it. */
const understoodJson = new WeakMap<Analysis, string>()

function understood(analysis: Analysis): string {
  let json = understoodJson.get(analysis)
  if (json === undefined) {
    const { facts, unreadable: why } = analysis
    const { operations } = facts
    json = `${operations.length === 1 ? `,"db.operation.name":${JSON.stringify(operations[0])}` : ''},"agentaccess.operations":${JSON.stringify(operations)}${why === undefined ? '' : `,"agentaccess.unreadable":${JSON.stringify(why)}`}`
    understoodJson.set(analysis, json)
  }
  return json
}

/** A JSON object without its closing brace. */
export function textAttributes({ recorded, binary, analysis }: Omit<StatementText, 'text'>): string {
  const encoding = binary ? ',"agentaccess.query.encoding":"not UTF-8: each byte as its Latin-1 character"' : ''
  return `{"db.query.text":${JSON.stringify(recorded)}${encoding}${understood(analysis)}`
}

/** A further attribute of an object, with the comma before it. */
export const attribute = (name: string, value: unknown, redactor: Redactor): string => `,${JSON.stringify(name)}:${JSON.stringify(redactor.value(value))}`

/** Bound values as rules see them: as text; a NULL is empty, bytes of a type that is not known are `\\x` and hex. */
export const parameterTexts = (values: readonly Value[], types: readonly number[]): string[] =>
  values.map((value, i) => {
    if (!value) return ''
    const decoded = decodeParameter(value.bytes, value.binary, types[i] ?? 0)
    return typeof decoded === 'object' && decoded !== null ? `\\x${decoded.hex}` : String(decoded)
  })

/** Bound values, as a further attribute; `types`: their OIDs, as far as they are known. */
export function parameterAttributes(values: readonly Value[], types: readonly number[], redactor: Redactor): string {
  if (values.length === 0) return ''
  const decoded = values.map((value, i) => value && decodeParameter(value.bytes, value.binary, types[i] ?? 0))
  return `,"agentaccess.parameters":${JSON.stringify(decoded.map((value) => redactor.value(value)))}`
}
