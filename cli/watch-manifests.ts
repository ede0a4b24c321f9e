// Manifests may change while `serve` runs: what is right is taken at once, what is wrong is said, and what was goes on.
import { watchFile, unwatchFile } from 'node:fs'
import type { RunningProxy } from '@agentaccess/proxy'
import { loadAccesses } from './manifests.ts'

/** Not inotify: editors and ConfigMaps replace files instead of writing to them. */
const POLL_MS = 500

interface Log {
  info(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Also looks again at SIGHUP. */
export function watchManifests(files: readonly string[], proxy: RunningProxy, log: Log): { stop(): void } {
  const reload = async () => {
    try {
      await proxy.update(loadAccesses(files))
      log.info({ files }, 'the manifests have changed, and are in force')
    } catch (error) {
      log.error(
        { files },
        `the manifests have changed and can't be taken; what was in force still is: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }
  // One after the other.
  let last = Promise.resolve()
  const changed = () => {
    last = last.then(reload)
  }
  for (const file of files) watchFile(file, { interval: POLL_MS, persistent: false }, changed)
  process.on('SIGHUP', changed)
  return {
    stop() {
      for (const file of files) unwatchFile(file, changed)
      process.off('SIGHUP', changed)
    },
  }
}
