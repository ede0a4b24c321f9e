// What the current cluster says of the recordings: where they are, and the public keys that signed them. Asked of kubectl,
// which knows how to reach the cluster; its answers come from outside the evidence, and so can be trusted.
import { execFileSync } from 'node:child_process'
import type { KeyObject } from 'node:crypto'
import { countersignatureText, publicKeysFromPem, signatureHolds } from '@agentaccess/recording'
import type { S3Options } from '@agentaccess/recording/s3'
import { UsageError } from './manifests.ts'

const SETTINGS = 'app.kubernetes.io/name=agentaccess-operator'
const LEDGER_HEADS = 'agentaccess.dev/ledger-heads-of'
const PUBLIC_KEYS = 'agentaccess.dev/public-keys-of'

interface ConfigMap {
  metadata: { name: string; namespace: string }
  data?: Record<string, string>
}

/** @throws UsageError where there is no cluster, or no AgentAccess on it */
export function clusterSettings(): { evidence: S3Options } {
  const found = configMaps(SETTINGS).flatMap(({ data }) => data?.['settings.json'] ?? [])
  if (found.length === 0) throw new UsageError('AgentAccess is not installed on the current cluster: give --evidence, or another kubectl context')
  if (found.length > 1) throw new UsageError('AgentAccess is installed more than once on the current cluster: give --evidence')
  return JSON.parse(found[0]!) as { evidence: S3Options }
}

/** The public keys of every namespace, old ones too. @throws UsageError */
export function clusterPublicKeys(): Map<string, KeyObject> {
  const pem = configMaps(PUBLIC_KEYS)
    .flatMap(({ data }) => Object.values(data ?? {}))
    .join('\n')
  if (pem === '') throw new UsageError('the operator has published no public keys yet: give --public-key')
  return publicKeysFromPem(pem)
}

interface Countersigned {
  head: string
  time: string
  key: string
  sig: string
}

/** Up to where the ledgers must reach: heads that the operator has seen stored, and signed. @throws UsageError */
export function clusterLedgerHeads(): string[] {
  return configMaps(LEDGER_HEADS).flatMap(({ metadata, data = {} }) => {
    const { 'operator.pem': pem, ...heads } = data
    if (pem === undefined) return []
    const keys = publicKeysFromPem(pem)
    return Object.values(heads).map((json) => {
      const { head, time, key, sig } = JSON.parse(json) as Countersigned
      const publicKey = keys.get(key)
      if (!publicKey || !signatureHolds(publicKey, countersignatureText({ head, time }), sig))
        throw new UsageError(`ConfigMap ${metadata.namespace}/${metadata.name}: the operator's signature on ledger head ${head} does not hold`)
      return head
    })
  })
}

/** An access of the current cluster as agents reach it: endpoint `host:port`, the CA of its certificate, what it is an access to. @throws UsageError */
export function clusterAccess(given: string, namespace?: string): { endpoint: string; ca: string; target: string } {
  const [name, inNamespace] = given.includes('/') ? [given.slice(given.indexOf('/') + 1), given.slice(0, given.indexOf('/'))] : [given, namespace]
  const where = inNamespace === undefined ? [] : ['--namespace', inNamespace]
  const access = asked(['get', 'agentaccess', name, ...where]) as { metadata: { namespace: string }; spec: { target: object }; status?: { endpoint?: string } }
  if (!access.status?.endpoint) throw new UsageError(`${access.metadata.namespace}/${name} has no endpoint yet: kubectl describe agentaccess ${name} says why`)
  const { data } = asked(['get', 'configmap', 'agentaccess-ca', '--namespace', access.metadata.namespace]) as ConfigMap
  return { endpoint: access.status.endpoint, ca: data?.['ca.crt'] ?? '', target: Object.keys(access.spec.target)[0] ?? '' }
}

/** What kubectl prints, as JSON. @throws UsageError with what it says */
function asked(args: readonly string[]): unknown {
  try {
    return JSON.parse(execFileSync('kubectl', [...args, '--output', 'json'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }))
  } catch (error) {
    const said = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr).trim() : String(error)
    throw new UsageError(`the current cluster can't be asked: ${said || 'kubectl is not installed'}`)
  }
}

function configMaps(selector: string): ConfigMap[] {
  try {
    const printed = execFileSync('kubectl', ['get', 'configmaps', '--all-namespaces', '--selector', selector, '--output', 'json'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 64 * 1024 * 1024,
    })
    return (JSON.parse(printed) as { items: ConfigMap[] }).items
  } catch (error) {
    const said = typeof error === 'object' && error !== null && 'stderr' in error ? String(error.stderr).trim() : String(error)
    throw new UsageError(`--evidence is not given, and the current cluster can't be asked: ${said || 'kubectl is not installed'}`)
  }
}
