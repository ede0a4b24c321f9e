// Builds what tests of the Kubernetes protocol need, before they run: it takes longer than a test may, and is done once.
import { Scope } from '../scope.ts'
import { ensureParts } from './parts.ts'

const scope = new Scope('prepare')
try {
  await ensureParts(scope, ['api'], (line) => console.error(`kube-apiserver: ${line}`))
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
} finally {
  await scope.close()
}
