// Evidence in a directory, with the layout that object storage has.
import { createReadStream } from 'node:fs'
import { link, mkdir, open, opendir, readFile, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import type { EvidenceReader, EvidenceWriter, StoredObject } from './store.ts'

const missing = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'ENOENT'
const existing = (error: unknown) => error instanceof Error && 'code' in error && error.code === 'EEXIST'

export class DirectoryStore implements EvidenceReader, EvidenceWriter {
  readonly root: string
  #serial = 0

  constructor(root: string) {
    this.root = root
  }

  #path(key: string): string {
    if (key.startsWith('/') || key.split('/').includes('..')) throw new Error(`not a key of the evidence: ${key}`)
    return join(this.root, ...key.split('/'))
  }

  async *list(prefix: string): AsyncIterable<StoredObject> {
    const folder = prefix.endsWith('/') || prefix === '' ? prefix : `${dirname(prefix)}/`
    for await (const key of this.#walk(folder === './' ? '' : folder)) {
      if (!key.startsWith(prefix)) continue
      yield { key, bytes: (await stat(this.#path(key))).size }
    }
  }

  async *#walk(folder: string): AsyncIterable<string> {
    const names: string[] = []
    try {
      for await (const entry of await opendir(this.#path(folder))) {
        // A put in progress (or one that a crash left) is not evidence yet.
        if (!entry.name.startsWith('.put-')) names.push(entry.isDirectory() ? `${entry.name}/` : entry.name)
      }
    } catch (error) {
      if (missing(error)) return
      throw error
    }
    for (const name of names.sort()) {
      if (name.endsWith('/')) yield* this.#walk(folder + name)
      else yield folder + name
    }
  }

  open(key: string): Readable {
    return createReadStream(this.#path(key))
  }

  async read(key: string): Promise<Buffer | undefined> {
    try {
      return await readFile(this.#path(key))
    } catch (error) {
      if (missing(error)) return undefined
      throw error
    }
  }

  async put(key: string, body: Uint8Array): Promise<'stored' | 'existed'> {
    const path = this.#path(key)
    const folder = dirname(path)
    const made = await mkdir(folder, { recursive: true })
    const temporary = join(folder, `.put-${process.pid}-${this.#serial++}`)
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(body)
      await file.sync()
    } finally {
      await file.close()
    }
    try {
      // A hard link refuses an existing name: the directory's If-None-Match.
      await link(temporary, path)
    } catch (error) {
      if (existing(error)) return 'existed'
      throw error
    } finally {
      await unlink(temporary)
    }
    await syncFolders(folder, made === undefined ? folder : dirname(made))
    return 'stored'
  }
}

/** A name survives a power cut only once its folder is synced, and so does each folder that was made on the way, up to `top`. */
async function syncFolders(folder: string, top: string): Promise<void> {
  for (let at = folder; ; at = dirname(at)) {
    const handle = await open(at, 'r')
    await handle.sync().finally(() => handle.close())
    if (at.length <= top.length) return
  }
}
