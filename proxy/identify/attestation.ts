// Proofs that the cluster vouches for: a ServiceAccount's token, and the pod that an address belongs to.
export interface ServiceAccountName {
  namespace: string
  name: string
}

export interface ReviewedToken {
  serviceAccount: ServiceAccountName
  /** Milliseconds since the epoch. */
  expires: number
  pod: string | undefined
  by: 'TokenReview' | 'issuer keys'
}

export interface CallingPod {
  serviceAccount: ServiceAccountName
  pod: string
  uid: string
  /** Of its label or annotation `agentaccess.dev/task`. */
  task: { task: string; source: string } | undefined
}

export type Refusal = { refusal: string }

export interface Attestation {
  reviewToken(token: string): Promise<ReviewedToken | Refusal>
  /** Who calls from this address, among the pods of these namespaces. */
  callingPod(address: string, namespaces: readonly string[]): Promise<CallingPod | Refusal>
}
