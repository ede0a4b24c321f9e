// Spools that no proxy has any more: what waits in them is stored by a Job, then the volume is given back.
import type { V1Job, V1PersistentVolumeClaim } from '@kubernetes/client-node'
import type { Cluster } from './cluster.ts'
import { OWNED, PROXY_PODS, type StoredAccess } from './desired/names.ts'
import { drainJob, drainJobName, spoolClaimName } from './desired/proxy-workload.ts'
import type { ProxySettings } from './settings.ts'
import type { Watches } from './watch.ts'

export interface SpoolsOptions {
  cluster: Cluster
  watches: Watches
  settings: ProxySettings
}

/**
 * Drains the claims of proxies from the number `replicas` on. Each of its pods must be gone first, so that nothing more comes.
 * @returns how many are left: to be called again until there are none
 */
export async function drainSpools(
  { cluster, watches, settings }: SpoolsOptions,
  namespace: string,
  owners: readonly StoredAccess[],
  replicas: number,
): Promise<number> {
  const claims = await cluster.list<V1PersistentVolumeClaim>('v1', 'PersistentVolumeClaim', namespace, { ...OWNED, ...PROXY_PODS })
  let left = 0
  for (const claim of claims) {
    const ordinal = ordinalOf(claim)
    if (ordinal === undefined || ordinal < replicas) continue
    left++
    if (claim.metadata!.deletionTimestamp !== undefined || hasPod(watches, namespace, ordinal)) continue
    const job = await cluster.read<V1Job>('batch/v1', 'Job', drainJobName(ordinal), namespace)
    if (!job) await cluster.apply(drainJob(namespace, owners, settings, ordinal))
    else if ((job.status?.succeeded ?? 0) > 0) {
      await cluster.delete(claim)
      await cluster.delete({ apiVersion: 'batch/v1', kind: 'Job', metadata: job.metadata! })
    }
  }
  return left
}

/** Gives the volumes back with whatever is in them: somebody has said so. */
export async function releaseSpools(cluster: Cluster, namespace: string): Promise<void> {
  for (const claim of await cluster.list<V1PersistentVolumeClaim>('v1', 'PersistentVolumeClaim', namespace, { ...OWNED, ...PROXY_PODS }))
    await cluster.delete(claim)
}

const hasPod = (watches: Watches, namespace: string, ordinal: number) =>
  watches.pods(namespace).some(({ spec }) => spec?.volumes?.some(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName === spoolClaimName(ordinal)))

function ordinalOf({ metadata }: V1PersistentVolumeClaim): number | undefined {
  const match = /-(\d+)$/.exec(metadata?.name ?? '')
  return match && metadata?.name === spoolClaimName(Number(match[1])) ? Number(match[1]) : undefined
}
