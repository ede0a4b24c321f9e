// Every protocol has its line here.
import type { TargetConfig } from '../config.ts'
import type { Protocol } from '../protocol.ts'
import { KubernetesProtocol } from './kubernetes/kubernetes.ts'
import { PostgresProtocol } from './postgres/postgres.ts'

export const protocols: Record<TargetConfig['kind'], Protocol> = {
  postgres: new PostgresProtocol(),
  kubernetes: new KubernetesProtocol(),
}
