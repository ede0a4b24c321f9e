// Names a statement node of PostgreSQL's parse tree as a rule calls it.
// https://github.com/pganalyze/libpg_query, protobuf/pg_query.proto, has all node names.

const NAMES: Record<string, string> = {
  CallStmt: 'CALL',
  CheckPointStmt: 'CHECKPOINT',
  ClosePortalStmt: 'CLOSE',
  ClusterStmt: 'CLUSTER',
  CommentStmt: 'COMMENT',
  ConstraintsSetStmt: 'SET CONSTRAINTS',
  CopyStmt: 'COPY',
  DeallocateStmt: 'DEALLOCATE',
  DeclareCursorStmt: 'DECLARE',
  DefineStmt: 'CREATE',
  DeleteStmt: 'DELETE',
  DiscardStmt: 'DISCARD',
  DoStmt: 'DO',
  ExecuteStmt: 'EXECUTE',
  ExplainStmt: 'EXPLAIN',
  FetchStmt: 'FETCH',
  GrantRoleStmt: 'GRANT',
  GrantStmt: 'GRANT',
  ImportForeignSchemaStmt: 'IMPORT FOREIGN SCHEMA',
  IndexStmt: 'CREATE',
  InsertStmt: 'INSERT',
  ListenStmt: 'LISTEN',
  LoadStmt: 'LOAD',
  LockStmt: 'LOCK',
  MergeStmt: 'MERGE',
  NotifyStmt: 'NOTIFY',
  PrepareStmt: 'PREPARE',
  ReassignOwnedStmt: 'REASSIGN OWNED',
  RefreshMatViewStmt: 'REFRESH',
  ReindexStmt: 'REINDEX',
  RenameStmt: 'ALTER',
  RuleStmt: 'CREATE',
  SecLabelStmt: 'SECURITY LABEL',
  SelectStmt: 'SELECT',
  TransactionStmt: 'TRANSACTION',
  TruncateStmt: 'TRUNCATE',
  UnlistenStmt: 'UNLISTEN',
  UpdateStmt: 'UPDATE',
  VacuumStmt: 'VACUUM',
  VariableSetStmt: 'SET',
  VariableShowStmt: 'SHOW',
  ViewStmt: 'CREATE',
}

const TRANSACTIONS: Record<string, string> = {
  TRANS_STMT_BEGIN: 'BEGIN',
  TRANS_STMT_START: 'BEGIN',
  TRANS_STMT_COMMIT: 'COMMIT',
  TRANS_STMT_ROLLBACK: 'ROLLBACK',
  TRANS_STMT_SAVEPOINT: 'SAVEPOINT',
  TRANS_STMT_RELEASE: 'RELEASE',
  TRANS_STMT_ROLLBACK_TO: 'ROLLBACK',
  TRANS_STMT_PREPARE: 'PREPARE TRANSACTION',
  TRANS_STMT_COMMIT_PREPARED: 'COMMIT PREPARED',
  TRANS_STMT_ROLLBACK_PREPARED: 'ROLLBACK PREPARED',
}

/** The operation of a statement node; undefined where the node is not a statement. */
export function operationOf(node: string, body: Record<string, unknown>): string | undefined {
  // Nodes begin with a capital; `selectStmt` is a field that holds one.
  if (!/^[A-Z].*Stmt$/.test(node) || node === 'PLAssignStmt' || node === 'ReturnStmt' || node === 'RawStmt') return undefined
  if (node === 'TransactionStmt') return TRANSACTIONS[String(body.kind)] ?? 'TRANSACTION'
  if (node === 'VariableSetStmt' && (body.kind === 'VAR_RESET' || body.kind === 'VAR_RESET_ALL')) return 'RESET'
  if ((node === 'GrantStmt' || node === 'GrantRoleStmt') && body.is_grant !== true) return 'REVOKE'
  const known = NAMES[node]
  if (known !== undefined) return known
  if (/^(Create|CompositeType)/.test(node)) return 'CREATE'
  if (node.startsWith('Alter')) return 'ALTER'
  if (node.startsWith('Drop')) return 'DROP'
  return node.slice(0, -'Stmt'.length).toUpperCase()
}

const MERGE_ACTIONS: Record<string, string> = { CMD_INSERT: 'INSERT', CMD_UPDATE: 'UPDATE', CMD_DELETE: 'DELETE' }

/** What a MERGE does with the rows that match, and with those that do not. */
export function actionsOfMerge({ mergeWhenClauses }: Record<string, unknown>): string[] {
  if (!Array.isArray(mergeWhenClauses)) return []
  return mergeWhenClauses.flatMap((clause: { MergeWhenClause?: { commandType?: string } }) => MERGE_ACTIONS[clause.MergeWhenClause?.commandType ?? ''] ?? [])
}

/** What leaves the meaning of every name as it is: nothing that runs by these can prepare, declare or drop one. */
export const HARMLESS_TO_NAMES: ReadonlySet<string> = new Set([
  'SELECT',
  'SHOW',
  'SET',
  'RESET',
  'BEGIN',
  'ROLLBACK',
  'SAVEPOINT',
  'RELEASE',
  'LISTEN',
  'UNLISTEN',
  'NOTIFY',
  'EXPLAIN',
])
