// What an access has come to since the proxy started, and what of it waits in the spool.
export class Account {
  /** Of the spool, that wait to be stored. */
  bytes: number
  /** Of the spool, ever. */
  recordedBytes = 0
  sessions = 0
  commands = 0
  denied = 0
  errors = 0

  constructor(bytes = 0) {
    this.bytes = bytes
  }

  add(bytes: number): void {
    this.bytes += bytes
    this.recordedBytes += bytes
  }
}
