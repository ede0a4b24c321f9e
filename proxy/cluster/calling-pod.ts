// The pod that a connection comes from, by its address. Asked for anew at every connection: an address is given to the next
// pod as soon as the one before it is gone.
import type { CallingPod, Refusal } from '../identify/attestation.ts'
import { KubeApiError, type KubeApi } from './kube-api.ts'

const TASK = 'agentaccess.dev/task'

interface Pod {
  metadata: { name: string; namespace: string; uid: string; labels?: Record<string, string>; annotations?: Record<string, string>; deletionTimestamp?: string }
  spec: { serviceAccountName?: string; hostNetwork?: boolean }
  status?: { phase?: string; podIPs?: { ip: string }[] }
}

export function podFinder(api: KubeApi): (address: string, namespaces: readonly string[]) => Promise<CallingPod | Refusal> {
  return async (address, namespaces) => {
    const found: Pod[] = []
    for (const namespace of namespaces) {
      const path = `/api/v1/namespaces/${namespace}/pods?fieldSelector=${encodeURIComponent(`status.podIP=${address}`)}`
      try {
        found.push(...((await api.json('GET', path)) as { items: Pod[] }).items)
      } catch (error) {
        const why =
          error instanceof KubeApiError && error.status === 403 ? 'the proxy may not look there yet' : error instanceof Error ? error.message : String(error)
        return { refusal: `the pods of namespace ${namespace} can't be looked up: ${why}` }
      }
    }
    return chosen(address, found)
  }
}

function chosen(address: string, pods: readonly Pod[]): CallingPod | Refusal {
  // One that has ended keeps its address in its status, while another may have it by now.
  const live = pods.filter(({ status }) => status?.phase === 'Running' && status.podIPs?.some(({ ip }) => ip === address))
  const [pod] = live
  if (!pod) return { refusal: `no running pod of the agents' namespaces has the address ${address}` }
  if (live.length > 1) return { refusal: `${live.length} pods have the address ${address}: ${live.map(nameOf).join(', ')}` }
  // Everything on the node has its address.
  // Its address may be another's before its status says that it has ended.
  if (pod.metadata.deletionTimestamp !== undefined) return { refusal: `pod ${nameOf(pod)} is being deleted` }
  if (pod.spec.hostNetwork === true) return { refusal: `pod ${nameOf(pod)} is on the host network, whose address is not its own` }
  const { name, namespace, uid, labels, annotations } = pod.metadata
  const task = labels?.[TASK] ?? annotations?.[TASK]
  return {
    serviceAccount: { namespace, name: pod.spec.serviceAccountName ?? 'default' },
    pod: name,
    uid,
    task: task === undefined || task === '' ? undefined : { task, source: labels?.[TASK] === undefined ? `annotation ${TASK}` : `label ${TASK}` },
  }
}

const nameOf = ({ metadata }: Pod) => `${metadata.namespace}/${metadata.name}`
