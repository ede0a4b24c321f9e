// An access as the API server has it, for tests.
import { validateAgentAccess } from '@agentaccess/crds'
import type { StoredAccess } from '../desired/names.ts'

export function stored(spec: Partial<StoredAccess['spec']> = {}, status?: StoredAccess['status']): StoredAccess {
  const validated = validateAgentAccess({
    apiVersion: 'agentaccess.dev/v1alpha1',
    kind: 'AgentAccess',
    metadata: { name: 'orders', namespace: 'shop' },
    spec: {
      agents: [{ name: 'claude', token: { secretRef: { name: 'tokens', key: 'claude' } } }],
      target: { postgres: { host: 'orders-db', credentials: { secretRef: { name: 'role' } } } },
      ...spec,
    },
  })
  if ('errors' in validated) throw new Error(validated.errors.map(({ message }) => message).join('\n'))
  const { value } = validated
  const metadata = { ...value.metadata, uid: 'uid', generation: 3, resourceVersion: '1', creationTimestamp: new Date(0) }
  return { ...value, metadata, ...(status ? { status } : {}) }
}
