// Writes the list of pg_catalog's functions from a real server: `make generate-catalog`. Functions that run SQL they are
// given as text, or as the name of a cursor or table, are left out: they can do anything.
import { writeFileSync } from 'node:fs'
import { startPostgres } from '../e2e/postgres.ts'
import { Scope } from '../e2e/scope.ts'

const RUNS_SQL = /^(?:query_to_xml|cursor_to_xml|table_to_xml|schema_to_xml|database_to_xml|ts_stat|ts_rewrite|set_config|pg_restore_|binary_upgrade_)/

const scope = new Scope('catalog')
try {
  const server = await startPostgres(scope)
  const { rows } = await server.query<{ proname: string }>("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace ORDER BY 1")
  const names = rows.map(({ proname }) => proname).filter((name) => !RUNS_SQL.test(name))
  const lines = names.map((name) => `  ${JSON.stringify(name).replaceAll('"', "'")},`).join('\n')
  writeFileSync(
    'proxy/protocols/postgres/sql/catalog-functions.generated.ts',
    `// Generated from pg_proc of PostgreSQL ${server.version} by \`make generate-catalog\`. Do not edit.\n\n/** Functions of pg_catalog that run no SQL of the caller's. */\nexport const catalogFunctions: ReadonlySet<string> = new Set([\n${lines}\n])\n`,
  )
  console.log(`wrote ${names.length} names`)
} finally {
  await scope.close()
}
