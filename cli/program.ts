// kubectl agentaccess …: each command has a file that acts; this one only parses.
import { Command, InvalidArgumentError, Option } from 'commander'
import { UsageError } from './manifests.ts'

const program = new Command('kubectl-agentaccess')
  .description('Records what AI agents do on the connection, and shows, replays and verifies the record.')
  .version('0.1.0')
  .showHelpAfterError('(--help says more)')
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2)
  })

const evidence = () => new Option('--evidence <place>', 'where the recordings are: a directory, or s3://BUCKET/PREFIX (default: what the current cluster says)')
const collect = (value: string, before: string[]) => [...before, value]

function positive(value: string): number {
  const number = Number(value)
  if (!(number > 0)) throw new InvalidArgumentError('expected a number above 0')
  return number
}

program
  .command('serve')
  .description('Runs the proxy from AgentAccess and Secret manifests, without a cluster. Prints one JSON line for each access when it listens; SIGTERM drains.')
  .requiredOption('-f, --file <file>', 'manifests; may be repeated', collect, [])
  .requiredOption('--evidence <place>', 'where the recordings go: a directory, or s3://BUCKET/PREFIX')
  .option('--host <address>', 'where to listen', '127.0.0.1')
  .option('--port <access=port>', 'the port of an access (NAME=PORT); any free one where left out; may be repeated', collect, [])
  .option('--spool <dir>', 'where recordings wait to be stored (default: the evidence directory with .spool behind it; required with s3://)')
  .option('--signing-key <file>', 'Ed25519 private key, PEM (default: signing-key.pem in the spool, made where it is missing)')
  .option('--tls-cert <file>', 'certificate that agents see, PEM (default: one of its own, for 127.0.0.1 and localhost)')
  .option('--tls-key <file>', 'its private key, PEM')
  .option('--client-ca <file>', 'CA of client certificates, PEM')
  .option('--grace <duration>', 'how long sessions may go on after SIGTERM', '30s')
  .action(async (options) => (await import('./commands/serve.ts')).serve(options))

program
  .command('kubeconfig <access>')
  .description('Prints a kubeconfig for an access of the current cluster whose target is Kubernetes. Without --token-file the agent is known by its pod.')
  .option('-n, --namespace <namespace>', 'of the access (default: that of the current context; or write NAMESPACE/NAME)')
  .option('--task <id>', 'what the agent works on: it stands in the server URL, and in the record as claimed')
  .option('--token-file <file>', 'where the agent finds its token')
  .option('--server <url>', 'another address of the access, for agents outside the cluster (default: its Service)')
  .action(async (access, options) => (await import('./commands/kubeconfig.ts')).kubeconfig(access, options))

program
  .command('check')
  .description(
    'Tells what the policy says of a command: decision, rule, and every variable that rules can see. Without --sql it runs spec.policy.tests; exit status 1: one was decided otherwise. Secrets need not be there.',
  )
  .requiredOption('-f, --file <file>', 'manifests; may be repeated', collect, [])
  .option('--sql <text>', 'a command')
  .option('--parameter <value>', 'a bound value of it, as text; may be repeated', collect, [])
  .option('--access <namespace/name>', 'which access, where there are several')
  .option('--agent <name>', 'who sends it (default: the first agent)')
  .option('--task <id>', 'on what task', '')
  .option('--now <time>', 'when, such as 2026-01-31T12:00:00Z (default: now)')
  .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
  .action(async (options) => (await import('./commands/check.ts')).check(options))

program
  .command('sessions')
  .description('Lists sessions.')
  .addOption(evidence())
  .option('--agent <name>', 'only of this agent')
  .option('--task <id>', 'only of this task')
  .option('--access <namespace/name>', 'only at this access')
  .option('--since <duration>', 'only those that began within, such as 24h')
  .option('--denied', 'only those with something denied')
  .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
  .action(async (options) => (await import('./commands/sessions.ts')).sessions(options))

program
  .command('show <session>')
  .description('Shows every command of a session in order, with decision, result and time.')
  .addOption(evidence())
  .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
  .action(async (session, options) => (await import('./commands/show.ts')).show(session, options))

program
  .command('replay <session>')
  .description('Shows a session as it happened, with its pauses.')
  .addOption(evidence())
  .option('--speed <factor>', 'how much faster than it was', positive, 1)
  .action(async (session, options) => (await import('./commands/replay.ts')).replay(session, options))

program
  .command('export <session>')
  .description('Prints the events of a session, byte for byte as they are stored.')
  .addOption(evidence())
  .addOption(new Option('--format <format>', 'the format').choices(['jsonl']).default('jsonl'))
  .action(async (session, options) => (await import('./commands/export.ts')).exportSession(session, options))

program
  .command('verify [sessions...]')
  .description('Checks recordings offline. Exit status 0: every one is whole; 1: something is not; 2: the question is wrong.')
  .addOption(evidence())
  .option('--all', 'every session there is, and every one that should be there')
  .option('--public-key <file>', 'the public keys that are trusted, PEM (default, without --evidence: those that the operator has published)')
  .option(
    '--at-least <head>',
    'a ledger head that was kept elsewhere: the evidence must not be older; may be repeated (default, without --evidence: those that the operator has countersigned)',
    collect,
    [],
  )
  .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
  .action(async (sessions, options) => (await import('./commands/verify.ts')).verify(sessions, options))

// What reads our output may stop reading: that is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error instanceof Error ? `${error.name}: ${error.message}` : String(error))
  process.exitCode = 2
}
