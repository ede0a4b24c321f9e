/** Bytes of a stream that can't be read: so they are not passed on, and the stream ends. */
export class StreamViolation extends Error {
  override readonly name = 'StreamViolation'
}
