// A spool that no proxy has any more, because there are fewer of them now: adopts it, stores what waits in it, and ends.
import { destination, pino } from 'pino'
import { signerFromPem } from '@agentaccess/recording'
import { startProxy } from '../proxy.ts'
import { inClusterApi, ownNamespace } from './kube-api.ts'
import { Wanted } from './wanted.ts'

/** @returns whether all is stored. @throws where the spool is in use, or can't be adopted */
export async function drainSpool(spool: string): Promise<boolean> {
  const log = pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination({ dest: 1, sync: true }))
  const write = (level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string) => log[level](fields, message)
  const namespace = ownNamespace()
  const wanted = new Wanted(inClusterApi(), namespace, write, () => {})
  const { evidence, otlp, signingKey } = await wanted.first()
  wanted.stop()
  const proxy = await startProxy({
    accesses: [],
    namespace,
    listen: () => ({ host: '::', port: 0 }),
    spool,
    evidence,
    ...(otlp ? { otlp } : {}),
    signer: signerFromPem(signingKey),
    log: write,
  })
  return proxy.stop(0)
}
