// Writes the TypeScript types whose truth is a schema: `make generate`. With --check it writes nothing and
// fails where a file is stale: `make verify`.
import { readFileSync, writeFileSync } from 'node:fs'
import { compile, type JSONSchema } from 'json-schema-to-typescript'
import { generateCrdTypes } from '../crds/generate.ts'

const banner = (source: string) => `// Generated from ${source} by \`make generate\`. Do not edit.\n`

async function eventTypes(): Promise<string> {
  const source = 'recording/schema/event.schema.json'
  const schema = JSON.parse(readFileSync(source, 'utf8')) as JSONSchema
  return compile(schema, 'Event', { bannerComment: banner(source), unreachableDefinitions: false })
}

const valuesReference = () => `<!-- Generated from charts/agentaccess/values.yaml by \`make generate\`. Do not edit. -->
# Values of the chart

With their defaults. \`charts/agentaccess/values.schema.json\` refuses what is none of these.

\`\`\`yaml
${readFileSync('charts/agentaccess/values.yaml', 'utf8')}\`\`\`
`

const outputs: Record<string, () => Promise<string>> = {
  'recording/event.generated.ts': eventTypes,
  'crds/agentaccess.generated.ts': () => generateCrdTypes(banner),
  // A chart holds only what is in its folder.
  'docs/values.md': async () => valuesReference(),
  'charts/agentaccess/files/agentaccess.yaml': async () => readFileSync('crds/agentaccess.yaml', 'utf8'),
}

const check = process.argv.includes('--check')
let stale = 0
for (const [path, make] of Object.entries(outputs)) {
  const text = await make()
  let current = ''
  try {
    current = readFileSync(path, 'utf8')
  } catch {
    // not there yet: stale
  }
  if (current === text) continue
  if (check) {
    console.error(`${path} is not what its schema generates: run \`make generate\` and commit the result`)
    stale++
  } else {
    writeFileSync(path, text)
    console.log(`wrote ${path}`)
  }
}
process.exitCode = stale > 0 ? 1 : 0
