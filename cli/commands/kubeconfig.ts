// kubeconfig: what kubectl needs to reach a Kubernetes access of the current cluster, for an agent.
import { clusterAccess } from '../cluster-settings.ts'
import { UsageError } from '../manifests.ts'

export interface KubeconfigOptions {
  namespace?: string
  task?: string
  tokenFile?: string
  server?: string
}

const NAME = 'agentaccess'

/** Prints it. Without a token the agent is known by the pod that it runs in. */
export function kubeconfig(access: string, { namespace, task, tokenFile, server }: KubeconfigOptions): void {
  const { endpoint, ca, target } = clusterAccess(access, namespace)
  if (target !== 'kubernetes') throw new UsageError(`the target of ${access} is no Kubernetes API server: it needs no kubeconfig`)
  const url = `${server ?? `https://${endpoint}`}${task === undefined ? '' : `/tasks/${encodeURIComponent(task)}`}`
  const cluster = { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') }
  const user = tokenFile === undefined ? {} : { tokenFile }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: NAME, cluster }],
    users: [{ name: NAME, user }],
    contexts: [{ name: NAME, context: { cluster: NAME, user: NAME } }],
    'current-context': NAME,
  }
  console.log(JSON.stringify(config, undefined, 2))
}
