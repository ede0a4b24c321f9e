// Where a Docker engine answers, the cluster is kind's: its node is a container, and what runs beside the cluster runs in that
// container's network, so that both kinds of cluster look the same to it. https://kind.sigs.k8s.io/docs/user/configuration/
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Scope } from '../scope.ts'
import { CLIENT_IMAGE, CLIENT_PACKAGES, OUR_IMAGE } from './images.ts'
import { BIN, BUILD } from './parts.ts'

const ROOT = join(import.meta.dirname, '../..')
const NAME = 'agentaccess-e2e'
const NODE_CONTAINER = `${NAME}-control-plane`
const folder = join(BUILD, 'kind')
const volumes = join(folder, 'volumes')
const kubeconfig = join(folder, 'kubeconfig')

/** Whether there is an engine to run kind with. */
export async function dockerAnswers(scope: Scope): Promise<boolean> {
  return (
    (await scope.run('docker', ['info', '--format', '{{.ServerVersion}}']).then(
      ({ code }) => code,
      () => 1,
    )) === 0
  )
}

/** Starts the cluster with our images on it. Returns the command that runs another one beside it. @throws where a step fails, with its output */
export async function startKind(scope: Scope, say: (line: string) => void): Promise<string[]> {
  const run = async (program: string, args: string[]) => {
    const { code, stdout, stderr } = await scope.run(program, args, { cwd: ROOT })
    if (code !== 0) throw new Error(`${program} ${args.join(' ')} failed:\n${(stdout + stderr).slice(-2000)}`)
    return stdout.trim()
  }
  // What a run before this one left, if it was cut off.
  await deleteKind(scope)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(volumes, { recursive: true })
  say('building images')
  await run(process.execPath, ['--disable-warning=ExperimentalWarning', 'scripts/bundle.ts'])
  await run('docker', ['build', '--build-arg', 'BUNDLE=prebuilt', '-t', OUR_IMAGE, ROOT])
  mkdirSync(join(folder, 'client'))
  const packages = CLIENT_PACKAGES.replaceAll(',', ' ')
  writeFileSync(
    join(folder, 'client/Dockerfile'),
    `FROM debian:bookworm-slim\nRUN apt-get update && apt-get install -y --no-install-recommends ${packages} && rm -rf /var/lib/apt/lists/*\nCMD ["sleep", "infinity"]\n`,
  )
  await run('docker', ['build', '-t', CLIENT_IMAGE, join(folder, 'client')])
  say('starting kind')
  const mount = { hostPath: volumes, containerPath: volumes }
  writeFileSync(
    join(folder, 'kind.json'),
    JSON.stringify({ kind: 'Cluster', apiVersion: 'kind.x-k8s.io/v1alpha4', nodes: [{ role: 'control-plane', extraMounts: [mount] }] }),
  )
  const kind = join(BIN, 'kind')
  await run(kind, ['create', 'cluster', '--name', NAME, '--config', join(folder, 'kind.json'), '--kubeconfig', kubeconfig, '--wait', '180s'])
  await run(kind, ['load', 'docker-image', '--name', NAME, OUR_IMAGE, CLIENT_IMAGE])
  // The port that it names is the engine's; in the node's own network the API server is where it listens.
  writeFileSync(kubeconfig, readFileSync(kubeconfig, 'utf8').replace(/server: .*/, 'server: https://127.0.0.1:6443'))
  const inspect = (format: string) => run('docker', ['inspect', '--format', format, NODE_CONTAINER])
  const [pid, address] = await Promise.all([inspect('{{.State.Pid}}'), inspect('{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}')])
  const environment = [`KUBECONFIG=${kubeconfig}`, `CLUSTER_NODE_ADDRESS=${address}`, `CLUSTER_VOLUMES=${volumes}`, `PATH=${BIN}:${process.env.PATH}`]
  return ['nsenter', '--target', pid, '--net', '--', 'env', ...environment]
}

/** Nothing of it is left. */
export async function deleteKind(scope: Scope): Promise<void> {
  await scope.run(join(BIN, 'kind'), ['delete', 'cluster', '--name', NAME, '--kubeconfig', kubeconfig])
}
