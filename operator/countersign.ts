// The operator's own signature on the heads of the proxies' ledgers, kept in its namespace: a copy of the evidence that is
// older, or was rewritten with a namespace's key, does not hold them.
import type { V1ConfigMap, V1Secret } from '@kubernetes/client-node'
import { countersignatureText, generateSigningKeyPem, signerFromPem, type Signer } from '@agentaccess/recording'
import type { Cluster } from './cluster.ts'
import { OWNED } from './desired/names.ts'
import type { AskedProxy } from './proxy-states.ts'

const KEY_SECRET = 'agentaccess-operator-key'
const LEDGER_HEADS_OF = 'agentaccess.dev/ledger-heads-of'
const PUBLIC_KEY = 'operator.pem'
/** A busy proxy has a new head every second. */
const EVERY_MS = 30_000

interface Countersigned {
  head: string
  time: string
  key: string
  sig: string
}

export class Countersigner {
  readonly #cluster: Cluster
  readonly #namespace: string
  readonly #signer: Signer
  /** Per spool: what was signed last, and when. */
  readonly #signed = new Map<string, { head: string; at: number }>()

  private constructor(cluster: Cluster, namespace: string, signer: Signer) {
    this.#cluster = cluster
    this.#namespace = namespace
    this.#signer = signer
  }

  /** With the key that is kept in the operator's namespace; made, where there is none. */
  static async start(cluster: Cluster, namespace: string): Promise<Countersigner> {
    const kept = await cluster.read<V1Secret>('v1', 'Secret', KEY_SECRET, namespace)
    const pem = kept?.data?.['key.pem'] === undefined ? generateSigningKeyPem() : Buffer.from(kept.data['key.pem'], 'base64').toString('utf8')
    if (!kept?.data?.['key.pem']) {
      const data = { 'key.pem': Buffer.from(pem).toString('base64') }
      await cluster.apply<V1Secret>({ apiVersion: 'v1', kind: 'Secret', metadata: { name: KEY_SECRET, namespace, labels: OWNED }, data })
    }
    return new Countersigner(cluster, namespace, signerFromPem(pem))
  }

  /** Signs what the proxies of a namespace have stored, where that is new. */
  async sign(of: string, proxies: readonly AskedProxy[], now = new Date()): Promise<void> {
    const due = proxies.flatMap(({ state }) => parseHead(state?.ledgerHead) ?? []).filter((head) => this.#isDue(head, now.getTime()))
    if (due.length === 0) return
    const metadata = { name: `agentaccess-ledger-heads-${of}`, namespace: this.#namespace, labels: { ...OWNED, [LEDGER_HEADS_OF]: of } }
    const before = await this.#cluster.read<V1ConfigMap>('v1', 'ConfigMap', metadata.name, metadata.namespace)
    const own = this.#signer.publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const known = before?.data?.[PUBLIC_KEY] ?? ''
    // What an earlier key signed stays signed.
    const data: Record<string, string> = { ...before?.data, [PUBLIC_KEY]: known.includes(own) ? known : known + own }
    for (const { head, spool, seq } of due) {
      // A proxy that somebody has taken over may say anything: what was signed is never taken back.
      if (seq <= signedSeq(data[spool])) continue
      const time = now.toISOString()
      const signed: Countersigned = { head, time, key: this.#signer.keyId, sig: this.#signer.sign(countersignatureText({ head, time })) }
      data[spool] = JSON.stringify(signed)
    }
    await this.#cluster.apply<V1ConfigMap>({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data })
    for (const { head, spool } of due) this.#signed.set(spool, { head, at: now.getTime() })
  }

  #isDue({ head, spool }: LedgerHead, now: number): boolean {
    const last = this.#signed.get(spool)
    return last === undefined || (last.head !== head && now - last.at >= EVERY_MS)
  }
}

interface LedgerHead {
  head: string
  spool: string
  seq: number
}

/** Undefined where it is none: it comes from a proxy, and names a key of the ConfigMap. */
export function parseHead(head: unknown): LedgerHead | undefined {
  const match = typeof head === 'string' ? /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):(\d{1,15}):[0-9a-f]{64}$/.exec(head) : null
  return match ? { head: match[0], spool: match[1]!, seq: Number(match[2]) } : undefined
}

/** Up to where a ledger is countersigned; 0 where it is not. */
export const signedSeq = (kept: string | undefined): number => (kept === undefined ? 0 : (parseHead((JSON.parse(kept) as Countersigned).head)?.seq ?? 0))
