// What the image holds: each program as one file, with its threads, and what it reads at run time, in build/image.
import { copyFileSync, mkdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'

const root = join(import.meta.dirname, '..')
const out = join(root, 'build/image')
const resolve = createRequire(join(root, 'proxy/package.json')).resolve

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
await build({
  entryPoints: {
    operator: join(root, 'operator/start.ts'),
    proxy: join(root, 'proxy/cluster/start.ts'),
    'kubectl-agentaccess': join(root, 'cli/program.ts'),
    'ship-thread': join(root, 'proxy/ship/ship-thread.ts'),
    'reading-thread': join(root, 'proxy/protocols/postgres/sql/reading-thread.ts'),
  },
  outdir: out,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minifySyntax: true,
  legalComments: 'linked',
  // Packages that are CommonJS expect these.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url); const __filename = import.meta.filename; const __dirname = import.meta.dirname;",
  },
  logLevel: 'warning',
})
copyFileSync(join(dirname(resolve('libpg-query')), 'libpg-query.wasm'), join(out, 'libpg-query.wasm'))
copyFileSync(join(root, 'crds/agentaccess.yaml'), join(out, 'agentaccess.yaml'))
