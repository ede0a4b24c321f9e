#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
// TypeScript is stripped and compiled once, not at every start: that is a third of a second and 40 MB. JavaScript, because Node
// loads a compiler for the first file of TypeScript that is not in the cache. It lies beside the code, so that only who can
// change the one can change the other; where that is read-only, nothing is kept. Threads take it from the environment.
import module from 'node:module'
import { fileURLToPath } from 'node:url'

if (!process.features.typescript) {
  console.error(`kubectl-agentaccess runs on Node 24, and this is ${process.version}: run it with npx, which takes the Node that the project installs`)
  process.exit(2)
}
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(new URL('../build/compile-cache', import.meta.url))
module.enableCompileCache(process.env.NODE_COMPILE_CACHE)
await import('./program.ts')
