// The agent's own trace: https://www.w3.org/TR/trace-context/#traceparent-header

/** Undefined where there is none, or it is malformed: as the specification wants it. */
export function validTraceparent(given: unknown): string | undefined {
  return typeof given === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(given) ? given : undefined
}
