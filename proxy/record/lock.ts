// One proxy a spool. Node has no flock; SQLite's exclusive transaction is a lock that the kernel lets go of with the process.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Holds the spool until `release`. @throws where another process holds it. */
export function lockSpool(folder: string): { release: () => void } {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const database = new DatabaseSync(join(folder, 'lock'))
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === 5)
      throw new Error(`the spool ${folder} is in use by another proxy: give each its own with --spool`, { cause: error })
    throw error
  }
  return { release: () => database.close() }
}
