// A Kubernetes target: this cluster by a ServiceAccount, or any by a kubeconfig.
// https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
import { parse } from 'yaml'
import { fieldError, type AgentAccess, type FieldError } from '@agentaccess/crds'
import type { KubernetesTarget } from '@agentaccess/proxy/config'

type Spec = NonNullable<AgentAccess['spec']['target']['kubernetes']>
type ReadSecret = (path: (string | number)[], name: string, key: string) => string

const KEY = 'kubeconfig'
const PATH = ['spec', 'target', 'kubernetes']
const IN_CLUSTER = 'https://kubernetes.default.svc'

/** What it can't use is added to `errors`. */
export function compileKubernetes(spec: Spec, namespace: string, read: ReadSecret, errors: FieldError[]): KubernetesTarget {
  const { serviceAccount, credentials, impersonate, sessionIdle } = spec
  const common = { impersonate, sessionIdleMs: milliseconds(sessionIdle) }
  // The API server's CA is among those that the proxies' Node.js was started with.
  if (serviceAccount) return { ...address(IN_CLUSTER), ...common, credentials: { kind: 'serviceAccount', namespace, name: serviceAccount.name } }
  const { name } = credentials!.secretRef
  const path = [...PATH, 'credentials', 'secretRef']
  const text = read(path, name, KEY)
  try {
    const found = fromKubeconfig(text === '' ? NOTHING : text)
    return { ...found, ...(spec.server === undefined ? {} : address(spec.server)), ...common }
  } catch (error) {
    // What is not there at all has been said already.
    if (text !== '')
      errors.push(fieldError(path, `Invalid value: key ${KEY} of Secret ${namespace}/${name}: ${error instanceof Error ? error.message : String(error)}`))
    return { ...address(IN_CLUSTER), ...common, credentials: { kind: 'token', token: '' } }
  }
}

const NOTHING = '{}'

function address(server: string): Pick<KubernetesTarget, 'kind' | 'host' | 'port' | 'path'> {
  const url = new URL(server)
  if (url.protocol !== 'https:') throw new Error(`server ${server} is not https`)
  return { kind: 'kubernetes', host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || 443), path: url.pathname.replace(/\/+$/, '') }
}

interface Kubeconfig {
  'current-context'?: string
  contexts?: { name: string; context: { cluster: string; user: string } }[]
  clusters?: { name: string; cluster: Record<string, unknown> }[]
  users?: { name: string; user: Record<string, unknown> }[]
}

/** The current context's. @throws naming what is missing, or can't be used here */
function fromKubeconfig(text: string): Omit<KubernetesTarget, 'impersonate' | 'sessionIdleMs'> {
  const config = parse(text) as Kubeconfig | null
  const current = config?.['current-context']
  const context = config?.contexts?.find(({ name }) => name === current)?.context
  if (!context) throw new Error(`it has no context ${JSON.stringify(current ?? '')}, which current-context names`)
  const cluster = config?.clusters?.find(({ name }) => name === context.cluster)?.cluster
  const user = config?.users?.find(({ name }) => name === context.user)?.user
  if (!cluster || !user) throw new Error(`its context ${current} names a cluster or user that it does not have`)
  const string = (of: Record<string, unknown>, field: string) => (typeof of[field] === 'string' && of[field] !== '' ? of[field] : undefined)
  for (const [of, field] of [
    [cluster, 'certificate-authority'],
    [user, 'client-certificate'],
    [user, 'client-key'],
    [user, 'tokenFile'],
    [user, 'exec'],
    [user, 'auth-provider'],
    [user, 'username'],
  ] as const)
    if (of[field] !== undefined)
      throw new Error(
        `${field} is not used here: files and programs are not in the Secret; use token, client-certificate-data, client-key-data and certificate-authority-data`,
      )
  if (cluster['insecure-skip-tls-verify'] === true) throw new Error('insecure-skip-tls-verify is not used here: give certificate-authority-data')
  const server = string(cluster, 'server')
  if (server === undefined) throw new Error(`its cluster ${context.cluster} has no server`)
  const [ca, serverName] = [decoded(string(cluster, 'certificate-authority-data')), string(cluster, 'tls-server-name')]
  const [certificate, privateKey] = [decoded(string(user, 'client-certificate-data')), decoded(string(user, 'client-key-data'))]
  const token = string(user, 'token')
  const target = { ...address(server), ...(ca === undefined ? {} : { ca }), ...(serverName === undefined ? {} : { serverName }) }
  if (certificate !== undefined && privateKey !== undefined) return { ...target, credentials: { kind: 'certificate', certificate, privateKey } }
  if (token !== undefined) return { ...target, credentials: { kind: 'token', token } }
  throw new Error(`its user ${context.user} has neither a token nor client-certificate-data and client-key-data`)
}

const decoded = (base64: string | undefined): string | undefined => (base64 === undefined ? undefined : Buffer.from(base64, 'base64').toString('utf8'))

const UNITS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000 }

/** Of a duration that the schema has checked. */
const milliseconds = (text: string): number => Number(text.slice(0, -1)) * UNITS[text.at(-1)!]!
