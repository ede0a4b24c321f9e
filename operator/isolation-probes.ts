// Whether a target can be reached past the proxies. Some networks ignore NetworkPolicies; so the operator, which is none of the
// proxies, tries the direct way.
import { connect } from 'node:net'
import type { StoredAccess } from './desired/names.ts'
import type { Verdict } from './status.ts'

const EVERY_MS = 60_000
const TIMEOUT_MS = 3000

interface Probed {
  target: string
  at: number
  verdict: Verdict | undefined
}

export class IsolationProbes {
  readonly #probed = new Map<string, Probed>()

  /** What the last attempt came to, where the access asks for isolation; makes another one where that was long ago. */
  verdict(access: StoredAccess, now = Date.now()): Verdict | undefined {
    const { name, namespace } = access.metadata
    const key = `${namespace}/${name}`
    const { postgres } = access.spec.target
    if (!postgres?.isolate) {
      this.#probed.delete(key)
      return undefined
    }
    const target = `${postgres.host}:${postgres.port}`
    let probed = this.#probed.get(key)
    if (probed?.target !== target || now - probed.at >= EVERY_MS) {
      const begun: Probed = { target, at: now, verdict: probed?.target === target ? probed.verdict : undefined }
      probed = begun
      this.#probed.set(key, begun)
      void probe(postgres.host, postgres.port).then((verdict) => {
        begun.verdict = verdict
      })
    }
    return probed.verdict ?? { status: 'Unknown', reason: 'NotTried', message: 'the direct way has not been tried yet' }
  }
}

function probe(host: string, port: number): Promise<Verdict> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const timer = setTimeout(() => done({ status: 'True', reason: 'Unreachable', message: `${host}:${port} does not answer who is not a proxy` }), TIMEOUT_MS)
    const done = (verdict: Verdict) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(verdict)
    }
    socket.once('connect', () =>
      done({
        status: 'False',
        reason: 'Reachable',
        message: `the operator's pod reaches ${host}:${port} directly, and so may others: the cluster's network does not enforce NetworkPolicies, or other policies let it in`,
      }),
    )
    socket.once('error', (error: NodeJS.ErrnoException) =>
      done(
        error.code === 'EHOSTUNREACH' || error.code === 'EACCES'
          ? { status: 'True', reason: 'Unreachable', message: `${host}:${port} can't be reached by who is not a proxy` }
          : { status: 'Unknown', reason: 'NotTold', message: `the direct way to ${host}:${port} fails for another reason: ${error.message}` },
      ),
    )
  })
}
