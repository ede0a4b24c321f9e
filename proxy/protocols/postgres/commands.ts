// Judges each message of the agent's that can have an effect, after it is in the record and before it is forwarded.
import { noFacts } from '../../decide/facts.ts'
import type { Redactor } from '../../record/redactor.ts'
import type { Session } from '../../session.ts'
import { attribute, parameterAttributes, parameterTexts, textAttributes } from './command-attributes.ts'
import { CommandRun } from './command-run.ts'
import { decodeBind, decodeExecute, decodeFunctionCall, decodeNamed, decodeParse, type BindMessage } from './frontend-messages.ts'
import { Denials, DROP, PASS, type Verdict } from './denials.ts'
import { Judge } from './judge.ts'
import type { Statement } from './names.ts'
import { endPortal, type Pipeline } from './pipeline.ts'
import { cannotRecord, unknownName } from './refusals.ts'
import { unreadable, type Analysis } from './sql/facts.ts'
import { redactSql } from './sql/redact.ts'
import { TextReader } from './statement-text.ts'
import { code, cstrings, FieldReader, message, ProtocolViolation } from './wire.ts'

const PROTOCOL_STATEMENT = 'S'
/** Message types (54.7) as they stand on the wire. */
const M = { Q: code('Q'), P: code('P'), B: code('B'), D: code('D'), E: code('E'), C: code('C'), F: code('F'), S: code('S') } as const
/** A Bind of it is refused, or fails at the target: it runs nothing. */
const unknownStatement: Analysis = { ...unreadable('the statement is not known'), renames: false, copiesIn: false }
/** By its number: what it is, only the catalog tells. */
const functionCall: Analysis = {
  facts: { ...noFacts, operations: ['FUNCTION CALL'], opaque: ['FUNCTION CALL'] },
  statements: 1,
  renames: true,
  copiesIn: false,
  rolesChanged: [],
  encodings: [],
}

export class Commands {
  readonly #pipeline: Pipeline
  readonly #session: Session
  readonly #begins: (run: CommandRun) => void
  readonly #judge: Judge
  readonly denials: Denials
  readonly #texts = new TextReader()
  /** The last command that this turn bound: an Execute of it needs no event of its own. */
  #lastBound: CommandRun | undefined

  constructor(pipeline: Pipeline, session: Session, role: string, begins: (run: CommandRun) => void) {
    this.#pipeline = pipeline
    this.#session = session
    this.#judge = new Judge(session, role)
    this.denials = new Denials(pipeline, session)
    this.#begins = begins
  }

  get #redactor(): Redactor {
    return this.#session.access.redactor
  }

  /** Whether bound values are recorded. */
  get #parameters(): boolean {
    return this.#session.access.config.recording.parameters
  }

  get waiting(): Promise<void> | undefined {
    return this.#texts.waiting ?? this.#judge.waiting
  }

  /** The session is over. What has not been read, is not in the record yet: it says that there was something. */
  abandon(): void {
    if (this.#texts.waiting) {
      const { record } = this.#session
      const command = record.command({ 'agentaccess.unreadable': 'the session ended before it was read' })
      new CommandRun(record, command).ends('not executed')
    }
    this.#judge.abandon()
  }

  turnBegins(): void {
    this.#lastBound = undefined
  }

  /** Judges one whole message. @throws ProtocolViolation */
  take(type: number, bytes: Buffer, start: number, end: number): Verdict | 'hold' {
    const fields = new FieldReader(bytes, start + 5, end)
    switch (type) {
      case M.Q:
        return this.#query(fields)
      case M.P:
        return this.#parse(fields, bytes.subarray(start, end))
      case M.B:
        return this.#bind(fields)
      case M.D:
        return this.#describe(fields)
      case M.E:
        return this.#execute(fields)
      case M.C:
        return this.#close(fields)
      case M.F:
        return this.#functionCall(fields)
      case M.S:
        return this.denials.sync()
      default:
        throw new ProtocolViolation(`message of type ${JSON.stringify(String.fromCharCode(type))} is unknown or out of place`)
    }
  }

  #query(fields: FieldReader): Verdict | 'hold' {
    const bytes = fields.cstringBytes()
    fields.done()
    const read = this.#texts.read(bytes, this.#redactor)
    if (read === 'hold') return 'hold'
    const { text, analysis } = read
    const judged = this.#judge.judge('command', analysis, text, () => `${textAttributes(read)},"agentaccess.message":"Query"}`, this.denials.discarding)
    if (judged === 'hold') return 'hold'
    this.#texts.judged()
    const run = new CommandRun(this.#session.record, judged.command, analysis.statements)
    const refusal = this.#judge.refusalOf(judged.decision)
    if (refusal) return this.denials.deny(run, refusal, true)
    if (this.denials.discarding) return this.denials.skipped(run)
    const expected = { kind: 'query', ours: false, run } as const
    this.#forwards(run, analysis)
    this.#pipeline.push(expected)
    this.#pipeline.exclusive = expected
    this.#pipeline.segment++
    this.#pipeline.statements.delete('')
    const unnamed = this.#pipeline.portals.delete('')
    if (unnamed) endPortal(unnamed.run)
    return PASS
  }

  #parse(fields: FieldReader, raw: Buffer): Verdict | 'hold' {
    const { name, query, parameterTypes } = decodeParse(fields)
    const read = this.#texts.read(query, this.#redactor)
    if (read === 'hold') return 'hold'
    const { text, binary, analysis } = read
    const attributes = textAttributes(read)
    const judged = this.#judge.judge(
      'statement',
      analysis,
      text,
      () =>
        `${attributes}${attribute('agentaccess.statement.name', name, this.#redactor)}${parameterTypes.length > 0 ? attribute('agentaccess.statement.parameter_types', parameterTypes, this.#redactor) : ''}}`,
      this.denials.discarding,
    )
    if (judged === 'hold') return 'hold'
    this.#texts.judged()
    const run = new CommandRun(this.#session.record, judged.command)
    const refusal = this.#judge.refusalOf(judged.decision)
    const { statements, segment, epoch } = this.#pipeline
    const statement: Statement = { name, text, binary, analysis, parameterTypes, attributes, redactor: this.#redactor, parse: Buffer.from(raw), epoch }
    if (refusal || this.denials.discarding) this.#pipeline.discarded.set(name, statement)
    if (refusal) return this.denials.deny(run, refusal, false)
    if (this.denials.discarding) return DROP
    this.#begins(run)
    this.#pipeline.push({ kind: 'parse', ours: false, settles: statements.change(name, segment, statement), run, statement })
    return PASS
  }

  #bind(fields: FieldReader): Verdict | 'hold' {
    const bind = decodeBind(fields)
    const { statements, portals, segment } = this.#pipeline
    const found = statements.lookup(bind.statement, segment)
    if (found === 'later' && !this.denials.discarding) return 'hold'
    const ignored = this.denials.discarding || this.#pipeline.skipping
    const statement = (ignored ? this.#pipeline.discarded.get(bind.statement) : undefined) ?? (typeof found === 'object' ? found.found : undefined)
    const analysis = statement?.analysis ?? unknownStatement
    const text = statement?.text ?? ''
    const judged = this.#judge.judge(
      'command',
      analysis,
      text,
      () => this.#boundAttributes(bind, statement),
      this.denials.discarding,
      () => parameterTexts(bind.values, statement?.parameterTypes ?? []),
    )
    if (judged === 'hold') return 'hold'
    const run = new CommandRun(this.#session.record, judged.command)
    if (this.denials.discarding) return this.denials.skipped(run)
    const refusal =
      this.#judge.refusalOf(judged.decision) ??
      (statement || !this.#mayBeSqlName(bind.statement) ? undefined : unknownName('prepared statement', bind.statement, '26000'))
    if (refusal) return this.denials.deny(run, refusal, false)
    const again = statement ? this.#prepareAgain(statement) : undefined
    this.#forwards(run, analysis)
    const portal = { name: bind.portal, run, epoch: this.#pipeline.epoch }
    this.#pipeline.push({ kind: 'bind', ours: false, settles: portals.change(bind.portal, segment, portal), run })
    this.#lastBound = run
    return again ? { before: again } : PASS
  }

  #boundAttributes({ statement: name, portal, values }: BindMessage, statement: Statement | undefined): string {
    // What is not to be recorded may have changed since it was prepared.
    if (statement && statement.redactor !== this.#redactor) {
      statement.attributes = textAttributes({ ...statement, recorded: redactSql(statement.text, this.#redactor) })
      statement.redactor = this.#redactor
    }
    const text = statement?.attributes ?? textAttributes({ recorded: '', binary: false, analysis: unknownStatement })
    const names = `${name === '' ? '' : attribute('agentaccess.statement.name', name, this.#redactor)}${portal === '' ? '' : attribute('agentaccess.portal.name', portal, this.#redactor)}`
    const parameters = this.#parameters ? parameterAttributes(values, statement?.parameterTypes ?? [], this.#redactor) : ''
    return `${text},"agentaccess.message":"Bind"${names}${parameters}}`
  }

  #describe(fields: FieldReader): Verdict | 'hold' {
    const { kind, name } = decodeNamed(fields)
    if (this.denials.discarding) return DROP
    const { statements, portals, segment } = this.#pipeline
    const found = kind === PROTOCOL_STATEMENT ? statements.lookup(name, segment) : portals.lookup(name, segment)
    if (found === 'later') return 'hold'
    const statement = kind === PROTOCOL_STATEMENT && typeof found === 'object' ? (found.found as Statement) : undefined
    const again = statement ? this.#prepareAgain(statement) : undefined
    this.#pipeline.push({ kind: 'describe', ours: false, statement })
    return again ? { before: again } : PASS
  }

  #execute(fields: FieldReader): Verdict | 'hold' {
    const { portal: name, maxRows } = decodeExecute(fields)
    if (this.denials.discarding) return DROP
    const { portals, segment, epoch } = this.#pipeline
    const found = portals.lookup(name, segment)
    if (found === 'later') return 'hold'
    const portal = typeof found === 'object' ? found.found : undefined
    if (!portal && (this.#pipeline.skipping || !this.#mayBeSqlName(name))) {
      // The target ignores it; or no portal has that name, and no SQL can have made one: then its own error is the right answer.
      this.#pipeline.push({ kind: 'describe', ours: false, statement: undefined })
      return PASS
    }
    if (!portal || (name !== '' && portal.epoch !== epoch)) {
      const { rule, response } = unknownName('portal', name, '34000', portal !== undefined)
      this.#session.record.decision(portal?.run.command, { action: 'deny', rule, message: response.message, revision: this.#session.access.policy.revision })
      return this.denials.refuse(response, false)
    }
    const blocked = this.#session.blocked()
    if (blocked !== undefined) {
      this.#session.refusedUnrecorded(blocked)
      return this.denials.refuse(cannotRecord(blocked, this.#session.id), false)
    }
    const { run } = portal
    if (run !== this.#lastBound || run.executed) this.#session.record.execute(run.command, maxRows > 0 ? { 'agentaccess.execute.max_rows': maxRows } : {})
    run.begins()
    const expected = { kind: 'execute', ours: false, run } as const
    this.#pipeline.push(expected)
    const analysis = run.analysis
    if (analysis?.renames) {
      this.#pipeline.renames()
      // What it does to names it has done when it is bound again, not to itself while it runs.
      if (name === '') portal.epoch = this.#pipeline.epoch
    }
    if (analysis?.copiesIn) this.#pipeline.exclusive = expected
    return PASS
  }

  #close(fields: FieldReader): Verdict {
    const { kind, name } = decodeNamed(fields)
    if (this.denials.discarding) return DROP
    const { statements, portals, segment } = this.#pipeline
    if (kind === PROTOCOL_STATEMENT) {
      this.#pipeline.push({ kind: 'close', ours: false, settles: statements.change(name, segment, undefined) })
      return PASS
    }
    this.#pipeline.push({ kind: 'close', ours: false, settles: portals.change(name, segment, undefined) })
    return PASS
  }

  #functionCall(fields: FieldReader): Verdict | 'hold' {
    const { functionOid, values } = decodeFunctionCall(fields)
    const analysis = functionCall
    const text = `FUNCTION CALL ${functionOid}`
    const judged = this.#judge.judge(
      'command',
      analysis,
      text,
      () =>
        `{"db.operation.name":"FUNCTION CALL","agentaccess.operations":["FUNCTION CALL"],"agentaccess.message":"FunctionCall","agentaccess.function.oid":${functionOid}${this.#parameters ? parameterAttributes(values, [], this.#redactor) : ''}}`,
      this.denials.discarding,
      () => parameterTexts(values, []),
    )
    if (judged === 'hold') return 'hold'
    const run = new CommandRun(this.#session.record, judged.command)
    const refusal = this.#judge.refusalOf(judged.decision)
    if (refusal) return this.denials.deny(run, refusal, true)
    if (this.denials.discarding) return this.denials.skipped(run)
    const expected = { kind: 'function', ours: false, run } as const
    this.#forwards(run, analysis)
    this.#pipeline.push(expected)
    this.#pipeline.exclusive = expected
    this.#pipeline.segment++
    return PASS
  }

  #forwards(run: CommandRun, analysis: Analysis): void {
    run.analysis = analysis
    this.#begins(run)
    // Planning at Bind runs code too: what may rename does so from here on.
    if (analysis.renames) this.#pipeline.renames()
  }

  /** Whether a name that the protocol did not make may have been made by SQL. */
  #mayBeSqlName(name: string): boolean {
    return name !== '' && this.#pipeline.epoch > 0
  }

  /** A stale statement is closed and prepared again from its recorded text, so that it is what was judged. */
  #prepareAgain(statement: Statement): Buffer | undefined {
    if (statement.name === '' || statement.epoch === this.#pipeline.epoch) return undefined
    statement.epoch = this.#pipeline.epoch
    this.#pipeline.push({ kind: 'close', ours: true })
    this.#pipeline.push({ kind: 'parse', ours: true })
    return Buffer.concat([message('C', Buffer.concat([Buffer.from(PROTOCOL_STATEMENT), cstrings(statement.name)])), statement.parse])
  }
}
