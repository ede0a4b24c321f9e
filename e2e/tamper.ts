// What someone with write access to the evidence might do to it.
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { partName, sha256Hex } from '@agentaccess/recording'

/** Every file below a folder, as paths relative to it, sorted. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
}

/** Changes the lines of a part with care: the object is packed again and has the right name for its new content. False where there was nothing to change. */
export function rewritePart(path: string, change: (lines: string) => string): boolean {
  const lines = zstdDecompressSync(readFileSync(path)).toString('utf8')
  const changed = change(lines)
  if (changed === lines) return false
  const packed = zstdCompressSync(Buffer.from(changed))
  const folder = path.slice(0, path.lastIndexOf('/'))
  const number = Number(path.slice(folder.length + 1).split('-')[0])
  writeFileSync(path, packed)
  renameSync(path, join(folder, partName(number, sha256Hex(packed))))
  return true
}
