// What each proxy says of itself, asked by mutual TLS.
import { Agent, get } from 'node:https'
import type { ReportedState } from '@agentaccess/proxy/cluster/state'
import { STATE_PORT } from '@agentaccess/proxy/cluster/settings'
import type { KeyPair } from './certificates.ts'
import { PROXY } from './desired/names.ts'
import type { Watches } from './watch.ts'

const TIMEOUT_MS = 3000
const MAX_BYTES = 1024 * 1024

/** A proxy that is there, and what it said; undefined where it does not answer. */
export interface AskedProxy {
  pod: string
  /** As Kubernetes sees it: only then its Services lead to it. */
  ready: boolean
  state: ReportedState | undefined
}

export class ProxyStates {
  readonly #watches: Watches
  readonly #authority: string
  readonly #certificate: () => Promise<KeyPair>

  /** `certificate`: the operator's own, for a client. */
  constructor(watches: Watches, authority: string, certificate: () => Promise<KeyPair>) {
    this.#watches = watches
    this.#authority = authority
    this.#certificate = certificate
  }

  /** Asks every proxy of a namespace that is to stay. */
  async ask(namespace: string): Promise<AskedProxy[]> {
    const certificate = await this.#certificate()
    const pods = this.#watches.pods(namespace).filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
    return Promise.all(
      pods.map(async (pod): Promise<AskedProxy> => {
        const name = pod.metadata!.name!
        const address = pod.status?.podIP
        const ready = pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
        if (!address) return { pod: name, ready, state: undefined }
        return askProxy(address, namespace, this.#authority, certificate).then(
          (state) => ({ pod: name, ready, state }),
          () => ({ pod: name, ready, state: undefined }),
        )
      }),
    )
  }
}

/** @throws what the connection fails with */
function askProxy(address: string, namespace: string, authority: string, { certificate, privateKey }: KeyPair): Promise<ReportedState> {
  return new Promise((resolve, reject) => {
    const agent = new Agent({ keepAlive: false })
    const request = get(
      {
        agent,
        host: address,
        port: STATE_PORT,
        path: '/state',
        servername: `${PROXY}.${namespace}.svc`,
        ca: authority,
        cert: certificate,
        key: privateKey,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      },
      (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk)
          bytes += chunk.length
          if (bytes > MAX_BYTES) request.destroy(new Error('the answer is too long'))
        })
        response.on('error', reject)
        response.on('end', () => {
          try {
            if (response.statusCode !== 200) throw new Error(`HTTP ${response.statusCode}`)
            resolve(JSON.parse(Buffer.concat(chunks).toString('utf8')) as ReportedState)
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)))
          }
        })
      },
    )
    request.on('error', reject)
  })
}
