// Where a client connects from.
import type { Socket } from 'node:net'

/** An IPv4 address as such, also on a socket that takes IPv6, too (RFC 4291, 2.5.5.2). Empty where the client is gone already. */
export function clientAddress({ remoteAddress = '' }: Socket): string {
  return remoteAddress.replace(/^::ffff:(?=\d+\.)/i, '')
}

/** Of this machine: what goes there crosses no network. */
export const isLoopback = (address: string): boolean => address.startsWith('127.') || address === '::1'
