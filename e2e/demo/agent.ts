// The agent of the demo: an unmodified Postgres client. It knows an address, its own token and its task; not that it is recorded.
import { setTimeout as pause } from 'node:timers/promises'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'

const client = new pg.Client({
  host: '127.0.0.1',
  port: Number(process.env.PGPORT),
  user: 'claude',
  password: process.env.AGENT_TOKEN,
  database: 'orders',
  application_name: 'task:FLAKY-123',
})

const step = (text: string) => console.log(`  agent: ${text}`)
const refused = (error: unknown) => step(`  → ${error instanceof Error ? error.message : String(error)}`)

async function copyOut(sql: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of client.query(copyTo(sql)) as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function copyIn(sql: string, data: Buffer): Promise<void> {
  await pipeline([data], client.query(copyFrom(sql)))
}

await client.connect()
step('reads')
await client.query('SELECT id, customer, total FROM orders ORDER BY id LIMIT 3')
step('writes in a transaction')
await client.query('BEGIN')
await client.query("UPDATE orders SET total = total + 1 WHERE customer = 'acme'")
await client.query('COMMIT')
step('uses a prepared statement')
for (const id of [1, 2]) await client.query({ name: 'order-by-id', text: 'SELECT total FROM orders WHERE id = $1', values: [id] })
step('copies out, and in')
const copied = await copyOut('COPY (SELECT id, customer, total FROM orders WHERE id <= 100) TO STDOUT')
await client.query('CREATE TEMPORARY TABLE copied (LIKE orders)')
await copyIn('COPY copied FROM STDIN', copied)
step('sends a statement that fails')
await client.query('SELECT no_such_column FROM orders').catch(refused)
step('sends one that the policy denies')
await client.query('DROP TABLE orders').catch(refused)
step('is killed in the middle of a statement')
const running = client.query("SELECT pg_sleep(60), 'the last thing it asked for'")
await pause(300)
process.send?.('running')
await running
