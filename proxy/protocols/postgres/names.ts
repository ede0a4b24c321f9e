// What the names of prepared statements and portals mean at the server, as far as that can be known.
//
// A name changes only when the server says so (ParseComplete, BindComplete, CloseComplete). Until then a change is pending:
// within one pipeline segment (up to its Sync) it can be counted on, since after a failure the server skips the rest of
// the segment; beyond the Sync it can't. And SQL can change what a name means behind the protocol's back (PREPARE,
// DEALLOCATE, DECLARE, also inside a function): whatever ran that might have done so makes the names before it stale.
import type { Redactor } from '../../record/redactor.ts'
import type { Analysis } from './sql/facts.ts'
import type { CommandRun } from './command-run.ts'

export interface Statement {
  name: string
  text: string
  /** It is not UTF-8. */
  binary: boolean
  analysis: Analysis
  /** Type OIDs of the parameters; 0 where not known. */
  parameterTypes: number[]
  /** Its text and what was understood of it, as JSON: the beginning of each command that is bound from it. */
  attributes: string
  /** What took out of them what is not to be recorded. */
  redactor: Redactor
  /** The Parse message as the client sent it, to prepare it again. */
  parse: Buffer
  /** The `epoch` after which it was last prepared. */
  epoch: number
}

export interface Portal {
  name: string
  run: CommandRun
  epoch: number
}

/** `later`: what the name means depends on a segment whose outcome is not known yet. */
export type Lookup<T> = { found: T } | 'unknown' | 'later'

/** What the server's answer does with a change. */
export interface Settles<T> {
  /** Returns what the name meant before. */
  confirm(): T | undefined
  drop(): void
}

class PendingChange<T extends { epoch: number }> implements Settles<T> {
  readonly name: string
  readonly segment: number
  readonly value: T | undefined
  readonly #names: Names<T>

  constructor(names: Names<T>, name: string, segment: number, value: T | undefined) {
    this.#names = names
    this.name = name
    this.segment = segment
    this.value = value
  }

  confirm(): T | undefined {
    return this.#names.settle(this, true)
  }

  drop(): void {
    this.#names.settle(this, false)
  }
}

/** One of the server's two name spaces. The empty name is never stale: SQL can't speak of it. */
export class Names<T extends { epoch: number }> {
  readonly #known = new Map<string, T>()
  readonly #pending: PendingChange<T>[] = []

  /** A change was forwarded: `value`, or undefined where the name is closed. Returns what settles it. */
  change(name: string, segment: number, value: T | undefined): Settles<T> {
    const change = new PendingChange(this, name, segment, value)
    this.#pending.push(change)
    return change
  }

  settle(change: PendingChange<T>, confirmed: boolean): T | undefined {
    // The oldest one, but where a failure drops several.
    if (this.#pending[0] === change) this.#pending.shift()
    else {
      const at = this.#pending.indexOf(change)
      if (at !== -1) this.#pending.splice(at, 1)
    }
    if (!confirmed) return undefined
    const { name, value } = change
    const replaced = this.#known.get(name)
    if (value === undefined) this.#known.delete(name)
    else this.#known.set(name, value)
    return replaced
  }

  lookup(name: string, segment: number): Lookup<T> {
    let pending: PendingChange<T> | undefined
    for (let i = this.#pending.length - 1; i >= 0 && !pending; i--) if (this.#pending[i]!.name === name) pending = this.#pending[i]
    if (!pending) {
      const found = this.#known.get(name)
      return found ? { found } : 'unknown'
    }
    if (pending.segment !== segment) return 'later'
    return pending.value ? { found: pending.value } : 'unknown'
  }

  /** Everything the server knows is gone. Returns what that was. */
  clear(): readonly T[] {
    if (this.#known.size === 0) return []
    const removed = [...this.#known.values()]
    this.#known.clear()
    return removed
  }

  delete(name: string): T | undefined {
    const value = this.#known.get(name)
    this.#known.delete(name)
    return value
  }
}
