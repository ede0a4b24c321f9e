// Walks through a parse tree and gathers what rules can see of it. Fields hold nodes wrapped in their name
// (`{RangeVar: {…}}`) or, where the grammar allows only one kind, bare: those are known by what they hold.
import { catalogFunctions } from './catalog-functions.generated.ts'
import { DANGEROUS_FUNCTIONS } from './dangerous-functions.ts'
import type { Found } from './facts.ts'
import { actionsOfMerge, operationOf } from './operations.ts'
import { at, constant, isBody, strings, type Body } from './parser.ts'
import { noteRoleChange, roleName } from './roles.ts'

/** Where a table is read from: FROM, USING, the sides of a JOIN. */
const READ_FROM: ReadonlySet<string> = new Set(['fromClause', 'usingClause', 'sourceRelation', 'larg', 'rarg'])

/** Names that stand for the result of a WITH query, from the inside out. */
interface Scope {
  names: ReadonlySet<string>
  outer: Scope | undefined
}

export class Walk {
  readonly #found: Found
  /** `VALUES` of an INSERT, which the parser calls a SELECT. */
  readonly #valuesOfInsert = new Set<unknown>()

  constructor(found: Found) {
    this.#found = found
  }

  statement(stmt: Body): void {
    this.#fields(stmt, false, undefined)
  }

  #visit(value: unknown, reading: boolean, scope: Scope | undefined): void {
    if (Array.isArray(value)) for (const item of value) this.#visit(item, reading, scope)
    else if (isBody(value)) this.#fields(value, reading, scope)
  }

  /** Visits what a body, or the wrapping of one, holds. */
  #fields(body: Body, reading: boolean, scope: Scope | undefined): void {
    // A side of a UNION is a bare SELECT: what it writes INTO is not read.
    if (typeof body.op === 'string' && body.op.startsWith('SETOP_')) reading = false
    this.#bare(body, reading, scope)
    const inner = isBody(body.withClause) ? this.#with(body.withClause, scope) : scope
    // Not Object.entries: this runs for every node of every new statement.
    for (const name in body) {
      const value = body[name]
      if (typeof value !== 'object' || value === null || name === 'withClause' || name === 'lockedRels') continue
      const reads = READ_FROM.has(name) || (reading && !name.endsWith('Stmt'))
      if (!Array.isArray(value)) this.#node(name, value as Body)
      this.#visit(value, reads, inner)
    }
  }

  /** WITH: each query sees those before it, and all of them where it is recursive. */
  #with(clause: Body, outer: Scope | undefined): Scope {
    const ctes = Array.isArray(clause.ctes) ? clause.ctes.map((cte: unknown) => at(cte, 'CommonTableExpr')).filter(isBody) : []
    const names = new Set<string>()
    const scope: Scope = { names, outer }
    if (clause.recursive === true) for (const cte of ctes) names.add(String(cte.ctename))
    for (const cte of ctes) {
      this.#visit(cte, false, scope)
      names.add(String(cte.ctename))
    }
    return scope
  }

  /** What is known by what it holds, wrapped or not. */
  #bare(body: Body, reading: boolean, scope: Scope | undefined): void {
    if (typeof body.relname === 'string') this.#table(body, reading, scope)
    if (typeof body.roletype === 'string') this.#found.facts.roles.add(roleName(body))
    if (Array.isArray(body.funcname)) this.#function(body)
    if (typeof body.kind === 'string' && body.kind.startsWith('VAR_')) this.#setting(body)
  }

  #table({ catalogname, schemaname, relname }: Body, reading: boolean, scope: Scope | undefined): void {
    if (reading && schemaname === undefined && isNameOfWith(String(relname), scope)) return
    this.#named([catalogname, schemaname, relname].filter((part) => typeof part === 'string').join('.'), reading)
  }

  #named(name: string, reading: boolean): void {
    const { facts, rolesChanged } = this.#found
    facts.tables.add(name)
    if (reading) facts.reads.add(name)
    else {
      facts.writes.add(name)
      const [last = ''] = name.split('.').slice(-1)
      if (CATALOGS_OF_ROLES.has(last)) rolesChanged.add('*')
      // Its rule calls set_config.
      if (last === 'pg_settings') this.#computedSetting()
    }
  }

  #function(body: Body): void {
    const { facts } = this.#found
    const name = strings(body.funcname)
    facts.functions.add(name.join('.'))
    const [last = ''] = name.slice(-1)
    if (!isCatalogFunction(name)) this.#found.renames = true
    if (DANGEROUS_FUNCTIONS.has(last)) facts.opaque.add(last)
    if (last === 'set_config' && Array.isArray(body.args)) {
      const setting = constant(body.args[0])?.toLowerCase()
      if (setting === undefined) this.#computedSetting()
      else facts.settings.add(setting)
      if (setting === 'client_encoding') this.#found.encodings.add(constant(body.args[1]) ?? '*')
    }
  }

  #computedSetting(): void {
    this.#found.facts.settings.add('*')
    this.#found.facts.opaque.add('set_config')
  }

  #setting(body: Body): void {
    const { facts, encodings } = this.#found
    if (body.kind === 'VAR_RESET_ALL') facts.settings.add('*')
    if (typeof body.name !== 'string') return
    const name = body.name.toLowerCase()
    facts.settings.add(name)
    const value = Array.isArray(body.args) ? constant(body.args[0]) : undefined
    if (name === 'client_encoding' && body.kind === 'VAR_SET_VALUE') encodings.add(value ?? '*')
    if ((name === 'role' || name === 'session_authorization') && value !== undefined) facts.roles.add(value)
  }

  #node(name: string, body: Body): void {
    const found = this.#found
    const { facts } = found
    const operation = operationOf(name, body)
    if (operation !== undefined && !this.#valuesOfInsert.has(body)) facts.operations.add(operation)
    noteRoleChange(name, body, found)
    switch (name) {
      case 'ColumnRef':
        facts.columns.add(fieldNames(body.fields).join('.'))
        break
      case 'ColumnDef':
        facts.columns.add(String(body.colname))
        break
      case 'IndexElem':
      case 'AlterTableCmd':
        if (typeof body.name === 'string') facts.columns.add(body.name)
        break
      case 'InsertStmt': {
        const select = at(body, 'selectStmt', 'SelectStmt')
        if (at(select, 'valuesLists') !== undefined) this.#valuesOfInsert.add(select)
        this.#targets(body.cols)
        break
      }
      case 'UpdateStmt':
      case 'MergeWhenClause':
        this.#targets(body.targetList)
        break
      case 'onConflictClause':
        if (body.action === 'ONCONFLICT_UPDATE') facts.operations.add('UPDATE')
        this.#targets(body.targetList)
        break
      case 'MergeStmt':
        for (const action of actionsOfMerge(body)) facts.operations.add(action)
        break
      case 'CopyStmt':
        this.#copy(body)
        break
      case 'intoClause':
      case 'into':
        // SELECT … INTO is a CREATE that the parser calls a SELECT.
        facts.operations.add('CREATE')
        break
      case 'DropStmt':
        this.#objects(String(body.removeType), Array.isArray(body.objects) ? body.objects : [])
        break
      case 'CommentStmt':
      case 'SecLabelStmt':
        this.#objects(String(body.objtype), [body.object])
        break
      case 'ObjectWithArgs':
        facts.functions.add(strings(body.objname).join('.'))
        break
      case 'ExecuteStmt':
        // What it runs was prepared earlier, perhaps under other rules, or by a message of the protocol.
        facts.opaque.add('EXECUTE')
        break
      case 'DiscardStmt':
        if (body.target === 'DISCARD_ALL') facts.settings.add('*')
        break
      case 'LoadStmt':
      case 'CreateExtensionStmt':
        facts.opaque.add(operation ?? name)
        break
      default:
        break
    }
  }

  #targets(list: unknown): void {
    if (!Array.isArray(list)) return
    for (const item of list) {
      const name = at(item, 'ResTarget', 'name')
      if (typeof name === 'string') this.#found.facts.columns.add(name)
    }
  }

  #copy(body: Body): void {
    const { facts } = this.#found
    if (body.is_from === true && body.filename === undefined) this.#found.copiesIn = true
    if (body.is_program === true) facts.opaque.add('COPY PROGRAM')
    else if (typeof body.filename === 'string') facts.opaque.add('COPY FILE')
    for (const column of strings(body.attlist)) facts.columns.add(column)
    if (isBody(body.relation) && body.is_from !== true) {
      // COPY … TO reads it: it is taken out of the tree, so that the walk does not take it for written.
      this.#table(body.relation, true, undefined)
      delete body.relation
    }
  }

  /** Objects that are named by lists of strings, as DROP and COMMENT have them. */
  #objects(type: string, objects: unknown[]): void {
    for (const object of objects) {
      const name = strings(at(object, 'List', 'items'))
      if (TABLE_LIKE.has(type)) this.#named(name.join('.'), false)
      // The last part is the name of the trigger, rule, policy or column.
      else if (OF_TABLE.has(type)) this.#named(name.slice(0, -1).join('.'), false)
    }
  }
}

const CATALOGS_OF_ROLES: ReadonlySet<string> = new Set(['pg_authid', 'pg_auth_members', 'pg_db_role_setting', 'pg_shadow', 'pg_user', 'pg_roles'])
const TABLE_LIKE: ReadonlySet<string> = new Set(['OBJECT_TABLE', 'OBJECT_VIEW', 'OBJECT_MATVIEW', 'OBJECT_FOREIGN_TABLE', 'OBJECT_SEQUENCE'])
const OF_TABLE: ReadonlySet<string> = new Set(['OBJECT_TRIGGER', 'OBJECT_RULE', 'OBJECT_POLICY', 'OBJECT_COLUMN', 'OBJECT_TABCONSTRAINT'])

function isNameOfWith(name: string, scope: Scope | undefined): boolean {
  for (let at = scope; at; at = at.outer) if (at.names.has(name)) return true
  return false
}

function isCatalogFunction(name: string[]): boolean {
  const [first, second] = name
  if (name.length === 1) return catalogFunctions.has(first!)
  return name.length === 2 && first === 'pg_catalog' && catalogFunctions.has(second!)
}

const fieldNames = (fields: unknown): string[] =>
  Array.isArray(fields) ? fields.map((field: unknown) => (at(field, 'A_Star') === undefined ? String(at(field, 'String', 'sval')) : '*')) : []
