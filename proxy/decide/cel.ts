// Compiles a rule's CEL once. `matches` runs on RE2 (linear time): the engine's own is JavaScript's backtracking one and
// can't be replaced, so calls of it are renamed before the expression is compiled.
import { Environment, type ASTNode } from '@marcbachmann/cel-js'
import { serialize } from '@marcbachmann/cel-js/serialize'
import { RE2JS } from 're2js'
import type { RuleConfig } from '../config.ts'
import { boundsOf, BUDGET, costOf } from './cost.ts'
import { noResource, type Facts, type ResourceFacts, type StatementFacts } from './facts.ts'

export interface CompiledRule {
  config: RuleConfig
  /** Whether it looks only at what stays the same for a session, and at what a command's text without its literals tells. */
  stable: boolean
  /** Whether the rule matches; an error where its expression failed. */
  matches(facts: CelFacts): boolean | { error: string }
}

/** Facts as CEL has them: its int is a BigInt. Made once for all rules of a decision. */
type CelFacts = ReturnType<typeof celFacts>

export function celFacts(facts: Facts) {
  const { target, session } = facts
  return {
    ...facts,
    target: { ...target, port: BigInt(target.port) },
    session: { id: session.id, commands: BigInt(session.commands), denied: BigInt(session.denied), errors: BigInt(session.errors), rows: BigInt(session.rows) },
  }
}

const LIMITS = { maxAstNodes: 2000, maxDepth: 64, maxListElements: 1000, maxMapEntries: 1000, maxCallArguments: 32 }
const PATTERNS_KEPT = 1000

const patterns = new Map<string, RE2JS>()

function pattern(source: string): RE2JS {
  let compiled = patterns.get(source)
  if (!compiled) {
    // A pattern can be computed from the command: what is kept is bounded.
    if (patterns.size >= PATTERNS_KEPT) patterns.clear()
    compiled = RE2JS.compile(source)
    patterns.set(source, compiled)
  }
  return compiled
}

/** Fields of `command` that come from the statement, and not from the values in it. */
const FROM_TEXT = ['operations', 'tables', 'reads', 'writes', 'columns', 'functions', 'roles', 'settings', 'opaque'] as const satisfies (keyof StatementFacts)[]

const OF_RESOURCE: Record<keyof ResourceFacts, string> = {
  verb: 'string',
  group: 'string',
  version: 'string',
  resource: 'string',
  subresource: 'string',
  namespace: 'string',
  name: 'string',
  labels: 'map<string, string>',
  dryRun: 'bool',
  body: 'dyn',
}

const environment = new Environment({ limits: LIMITS })
  .registerVariable({
    name: 'command',
    schema: { text: 'string', parameters: 'list<string>', ...Object.fromEntries(FROM_TEXT.map((name) => [name, 'list<string>'])), ...OF_RESOURCE },
  })
  .registerVariable({ name: 'agent', schema: { name: 'string', proof: 'string' } })
  .registerVariable('task', 'string')
  .registerVariable({ name: 'target', schema: { kind: 'string', host: 'string', port: 'int', database: 'string' } })
  .registerVariable({ name: 'session', schema: { id: 'string', commands: 'int', denied: 'int', errors: 'int', rows: 'int' } })
  .registerVariable('now', 'google.protobuf.Timestamp')
  .registerFunction('string.matchesRe2(string): bool', (text: string, source: string) => pattern(source).matcher(text).find())

/** @throws where the expression does not compile or does not give a bool, naming the rule. */
export function compileRule(config: RuleConfig): CompiledRule {
  const fail = (why: string): never => {
    throw new Error(`rule ${config.name}: ${why.split('\n')[0]} in: ${config.when}`)
  }
  let source = config.when
  let stable = false
  try {
    const { ast } = environment.parse(config.when)
    stable = isStable(ast)
    source = serialize(withRe2(ast))
  } catch (error) {
    fail(messageOf(error))
  }
  const checked = environment.check(source)
  if (!checked.valid) fail(checked.error?.message ?? 'it does not type-check')
  if (checked.type !== 'bool') fail(`it gives a ${checked.type}, and must give a bool`)
  const evaluate = environment.parse(source)
  const ordinary = costOf(evaluate.ast, ORDINARY)
  const seesParameters = /\bparameters\b/.test(source)
  if (ordinary > BUDGET) fail('it is too much work for every command')
  return {
    config,
    stable,
    matches(facts) {
      try {
        if (!isOrdinary(facts.command, seesParameters) && costOf(evaluate.ast, facts) > BUDGET)
          return { error: 'it would be too much work for a command of this size' }
        const value: unknown = evaluate(facts)
        return typeof value === 'boolean' ? value : { error: `it gave ${typeof value}, not bool` }
      } catch (error) {
        return { error: messageOf(error).split('\n')[0]! }
      }
    },
  }
}

/** What most commands stay below: for them a rule's work is measured once. */
const ORDINARY_LENGTH = 4096
const ORDINARY_ITEMS = 32
const ordinaryList = Array<string>(ORDINARY_ITEMS).fill('x'.repeat(64))
const ORDINARY = {
  command: {
    text: 'x'.repeat(ORDINARY_LENGTH),
    parameters: Array<string>(ORDINARY_ITEMS).fill('x'.repeat(ORDINARY_LENGTH)),
    ...Object.fromEntries(FROM_TEXT.map((name) => [name, ordinaryList])),
    ...noResource,
    body: { metadata: {}, spec: { template: ordinaryList } },
  },
}

function isOrdinary(command: Facts['command'], seesParameters: boolean): boolean {
  if (command.text.length > ORDINARY_LENGTH) return false
  const parameters = seesParameters ? command.parameters : []
  if (parameters.length > ORDINARY_ITEMS || parameters.some(({ length }) => length > ORDINARY_LENGTH)) return false
  const { items, length } = boundsOf(command.body)
  return items <= ORDINARY_ITEMS && length <= ORDINARY_LENGTH && FROM_TEXT.every((name) => command[name].length <= ORDINARY_ITEMS)
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Of what changes from command to command it looks at nothing but what comes from the statement's text. */
function isStable(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isStable)
  if (typeof value !== 'object' || value === null || !('op' in value && 'args' in value)) return true
  const { op, args } = value
  if (op === 'id') return typeof args === 'string' && !VOLATILE.has(args)
  if (op === '.' && Array.isArray(args) && (FROM_TEXT as readonly unknown[]).includes(args[1]) && isIdentifier(args[0], 'command')) return true
  return isStable(args)
}

const VOLATILE: ReadonlySet<string> = new Set(['command', 'task', 'session', 'now'])

const isIdentifier = (value: unknown, name: string): boolean =>
  typeof value === 'object' && value !== null && 'op' in value && 'args' in value && value.op === 'id' && value.args === name

/** Renames every call of `matches`, wherever it stands in the tree. Changes the tree. */
function withRe2(node: ASTNode): ASTNode {
  rename(node)
  return node
}

function rename(value: unknown): void {
  if (Array.isArray(value)) for (const item of value) rename(item)
  else if (typeof value === 'object' && value !== null && 'op' in value && 'args' in value) {
    const { op, args } = value
    if ((op === 'rcall' || op === 'call') && Array.isArray(args) && args[0] === 'matches') args[0] = 'matchesRe2'
    rename(args)
  }
}
