// What there is for each access: the Secret that tells proxies of it, and the Service that agents connect to.
import type { V1Secret, V1Service } from '@kubernetes/client-node'
import type { AccessConfig } from '@agentaccess/proxy/config'
import { ACCESS_KEY, accessSecretName } from '@agentaccess/proxy/cluster/settings'
import { OWNED, ownedMetadata, PROXY_PODS, serviceName, type StoredAccess } from './names.ts'

type Kind = AccessConfig['target']['kind']

/** What agents know each protocol by. https://kubernetes.io/docs/concepts/services-networking/service/#application-protocol */
const USUAL_PORT: Record<Kind, { name: string; port: number; appProtocol: string }> = {
  postgres: { name: 'postgres', port: 5432, appProtocol: 'postgresql' },
  kubernetes: { name: 'https', port: 443, appProtocol: 'https' },
}

const kindOf = ({ spec }: StoredAccess): Kind => (spec.target.kubernetes ? 'kubernetes' : 'postgres')

export const servicePort = (access: StoredAccess): number => USUAL_PORT[kindOf(access)].port

export function accessSecret(access: StoredAccess, config: AccessConfig): V1Secret {
  const { name, namespace } = access.metadata
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(accessSecretName(name), namespace, [access]),
    type: 'agentaccess.dev/access',
    data: { [ACCESS_KEY]: Buffer.from(JSON.stringify(config)).toString('base64') },
  }
}

/** Agents reach every proxy of the namespace by it; `targetPort` is where they listen for this access. */
export function accessService(access: StoredAccess, targetPort: number): V1Service {
  const { name, namespace } = access.metadata
  const { type = 'ClusterIP', annotations = {} } = access.spec.service ?? {}
  const metadata = ownedMetadata(serviceName(name), namespace, [access], { 'agentaccess.dev/access': name })
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { ...metadata, annotations },
    spec: {
      type,
      selector: { ...OWNED, ...PROXY_PODS },
      // A cancel request finds the pod that has its session more often; the source of a call stays what it is from outside, too.
      sessionAffinity: 'ClientIP',
      ...(type === 'ClusterIP' ? {} : { externalTrafficPolicy: 'Local' }),
      ports: [{ ...USUAL_PORT[kindOf(access)], targetPort, protocol: 'TCP' }],
    },
  }
}
