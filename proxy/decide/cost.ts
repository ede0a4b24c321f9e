// How much work a rule can be for one command, found before it is evaluated: an agent chooses how large its commands are, and
// must not be able to make a rule hold up everyone else. An upper bound, from the expression's tree and the real sizes.
import { RE2JS } from 're2js'
import { isUnreadable } from './facts.ts'

/** One unit is about 50 ns: what a call takes on small values. */
export const BUDGET = 1_000_000

/** What a value can come to: how many items a list has, and how long its longest string, or the string itself, is. */
interface Size {
  items: number
  length: number
  /** What is in it can be as large: a body, of which nothing is known but all of it together. */
  deep?: boolean
}

interface Estimate extends Size {
  cost: number
}

type Scope = ReadonlyMap<string, Size>

const MACROS: ReadonlySet<string> = new Set(['all', 'exists', 'exists_one', 'filter', 'map'])
/** Characters that a plain function of strings passes over in a unit. */
const CHARACTERS_A_UNIT = 32
/** Steps of a regular expression's machine in a unit. */
const STEPS_A_UNIT = 16
/** For a pattern that is not a literal. */
const LARGE_PROGRAM = 1000

/** An upper bound of the units that evaluating `ast` takes where the variables have these values. */
export const costOf = (ast: unknown, facts: Record<string, unknown>): number => estimate(ast, facts, new Map()).cost

function estimate(node: unknown, facts: Record<string, unknown>, scope: Scope): Estimate {
  if (!isNode(node)) return { cost: 1, items: 0, length: 0 }
  const { op, args } = node
  const of = (child: unknown, inner = scope) => estimate(child, facts, inner)
  if (op === 'value') return { cost: 1, items: 0, length: typeof args === 'string' ? args.length : 0 }
  if (op === 'id' && typeof args === 'string') return { cost: 1, ...(scope.get(args) ?? sizeOf(facts[args])) }
  if (op === '.' && Array.isArray(args) && isNode(args[0]) && args[0].op === 'id' && !scope.has(String(args[0].args))) {
    const object = facts[String(args[0].args)]
    if (typeof object === 'object' && object !== null) return { cost: 1, ...sizeOf((object as Record<string, unknown>)[String(args[1])]) }
  }
  if (op === 'rcall' && Array.isArray(args)) {
    const [name, receiver, given] = args as [string, unknown, unknown[]]
    return MACROS.has(name) ? macro(name, of(receiver), given, of, scope) : call(name, [receiver, ...given], of)
  }
  if (op === 'call' && Array.isArray(args)) return call(String(args[0]), args[1] as unknown[], of)
  return operator(
    op,
    children(args).map((child) => of(child)),
  )
}

function macro(name: string, list: Estimate, given: unknown[], of: (child: unknown, scope?: Scope) => Estimate, scope: Scope): Estimate {
  const [variable, ...bodies] = given
  const item = list.deep ? { items: list.items, length: list.length, deep: true } : { items: 0, length: list.length }
  const inner = new Map(scope).set(isNode(variable) ? String(variable.args) : '', item)
  const each = bodies.map((body) => of(body, inner))
  const cost = list.cost + (list.items + 1) * (1 + sum(each, 'cost'))
  return { cost, items: list.items, length: name === 'map' ? largest(each, 'length') : list.length }
}

function call(name: string, given: unknown[], of: (child: unknown) => Estimate): Estimate {
  const each = given.map((child) => of(child))
  const [text = { cost: 0, items: 0, length: 0 }] = each
  const [cost, length, items] = [1 + sum(each, 'cost'), sum(each, 'length'), largest(each, 'items')]
  switch (name) {
    case 'matches':
    case 'matchesRe2':
      return { cost: cost + (text.length * programSize(given[1])) / STEPS_A_UNIT, items: 0, length: 0 }
    case 'split':
      return { cost: cost + text.length, items: text.length + 1, length: text.length }
    case 'join':
      return { cost: cost + text.items + (text.items * length) / CHARACTERS_A_UNIT, items: 0, length: (text.items + 1) * length }
    case 'replace':
      return { cost: cost + (text.length * length) / CHARACTERS_A_UNIT, items: 0, length: (text.length + 1) * (length + 1) }
    default:
      return { cost: cost + length / CHARACTERS_A_UNIT + items, items, length }
  }
}

function operator(op: string, each: Estimate[]): Estimate {
  const length = op === '+' ? sum(each, 'length') : largest(each, 'length')
  const items = op === 'list' ? each.length : op === '+' ? sum(each, 'items') : largest(each, 'items')
  const compared = op === '==' || op === '!=' || op === 'in' || op === '+' ? items + ((items + 1) * length) / CHARACTERS_A_UNIT : 0
  return { cost: 1 + sum(each, 'cost') + compared, items, length, ...(each.some(({ deep }) => deep) ? { deep: true } : {}) }
}

function programSize(pattern: unknown): number {
  if (!isNode(pattern) || pattern.op !== 'value' || typeof pattern.args !== 'string') return LARGE_PROGRAM
  try {
    return RE2JS.compile(pattern.args).programSize()
  } catch {
    return 1
  }
}

function sizeOf(value: unknown): Size {
  if (typeof value === 'string') return { items: 0, length: value.length }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return boundsOf(value)
  if (!Array.isArray(value)) return { items: 0, length: 64 }
  let length = 0
  for (const item of value) if (typeof item === 'string' && item.length > length) length = item.length
  return { items: value.length, length }
}

const bounds = new WeakMap<object, Size>()

/** How many values a body has in all, and how long its longest text is. */
export function boundsOf(value: unknown): Size {
  if (typeof value === 'string') return { items: 1, length: value.length }
  if (typeof value !== 'object' || value === null || isUnreadable(value)) return { items: 1, length: 1 }
  const known = bounds.get(value)
  if (known) return known
  let [items, length] = [0, 64]
  for (const [name, inner] of Object.entries(value)) {
    const of = boundsOf(inner)
    items += 1 + of.items
    length = Math.max(length, of.length, name.length)
  }
  const size = { items, length, deep: true }
  bounds.set(value, size)
  return size
}

const sum = (each: readonly Estimate[], field: keyof Omit<Estimate, 'deep'>): number => each.reduce((all, one) => all + one[field], 0)
const largest = (each: readonly Estimate[], field: keyof Omit<Estimate, 'deep'>): number => each.reduce((most, one) => Math.max(most, one[field]), 0)

interface Node {
  op: string
  args: unknown
}

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && 'op' in value && 'args' in value && typeof value.op === 'string'

/** The nodes below one, whatever lists they are in. */
function children(args: unknown): Node[] {
  if (isNode(args)) return [args]
  return Array.isArray(args) ? args.flatMap(children) : []
}
