// What the operator asks a proxy: its state, by mutual TLS. And what anyone in the cluster may ask: its health and metrics.
import { fastify, type FastifyInstance } from 'fastify'
import type { TargetProblem } from '../protocol.ts'
import type { ProxyState } from '../proxy.ts'
import { METRICS_PORT, STATE_PORT, type Settings } from './settings.ts'

/** `targets`: what the last probe of each access's target came to; none where there was none yet. */
export interface ReportedState extends ProxyState {
  targets: Record<string, TargetProblem | 'reachable'>
}

/** Only who has a certificate of the operator's CA is answered. */
export async function serveState({ certificate, privateKey, operatorCa }: Settings, state: () => ReportedState): Promise<FastifyInstance> {
  const server = fastify({
    https: { cert: certificate, key: privateKey, ca: operatorCa, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
    forceCloseConnections: true,
  })
  server.get('/state', state)
  await server.listen({ host: '::', port: STATE_PORT })
  return server
}

export interface Health {
  ready: () => boolean
  metrics: () => Promise<string>
}

export async function serveHealth({ ready, metrics }: Health, port = METRICS_PORT): Promise<FastifyInstance> {
  const server = fastify({ forceCloseConnections: true })
  server.get('/healthz', () => 'ok\n')
  server.get('/readyz', (_request, reply) => (ready() ? 'ok\n' : reply.code(503).send('not ready\n')))
  server.get('/metrics', async (_request, reply) => reply.type('text/plain; version=0.0.4').send(await metrics()))
  await server.listen({ host: '::', port })
  return server
}
