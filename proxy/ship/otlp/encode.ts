// Spans and logs as OTLP's protobuf, by opentelemetry-js's own serializers.
import { gzipSync } from 'node:zlib'
import { SpanKind, SpanStatusCode, TraceFlags, type Attributes, type HrTime, type SpanContext } from '@opentelemetry/api'
import { SeverityNumber } from '@opentelemetry/api-logs'
import { ProtobufLogsSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer'
import { resourceFromAttributes, type Resource } from '@opentelemetry/resources'
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base'
import type { Log, Span } from './session-trace.ts'

const scope = { name: 'agentaccess', version: '0.1.0' }

/** Who sends: one proxy's spool. */
export const proxyResource = (namespace: string, spool: string): Resource =>
  resourceFromAttributes({ 'service.name': 'agentaccess', 'service.namespace': namespace, 'service.instance.id': spool, 'k8s.namespace.name': namespace })

const hrTime = (ms: number): HrTime => [Math.floor(ms / 1000), Math.round((ms % 1000) * 1e6)]
const context = (traceId: string, spanId: string): SpanContext => ({ traceId, spanId, traceFlags: TraceFlags.SAMPLED })

/** What OTLP has no type for goes as JSON. */
function attributesOf(attributes: Record<string, unknown>): Attributes {
  const out: Attributes = {}
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') out[name] = value
    else if (Array.isArray(value) && value.every((item) => typeof item === 'string')) out[name] = value
    else if (value !== undefined && value !== null) out[name] = JSON.stringify(value)
  }
  return out
}

/** An ExportTraceServiceRequest, gzipped. */
export function encodeSpans(spans: readonly Span[], resource: Resource): Buffer {
  const readable = spans.map(({ traceId, spanId, parentSpanId, name, kind, start, end, attributes, error, link }): ReadableSpan => ({
    name,
    kind: kind === 'server' ? SpanKind.SERVER : SpanKind.INTERNAL,
    spanContext: () => context(traceId, spanId),
    ...(parentSpanId === undefined ? {} : { parentSpanContext: context(traceId, parentSpanId) }),
    startTime: hrTime(start),
    endTime: hrTime(end),
    duration: hrTime(end - start),
    status: error === undefined ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR, message: error },
    attributes: attributesOf(attributes),
    links: link ? [{ context: context(link.traceId, link.spanId) }] : [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: scope,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  }))
  return gzipSync(ProtobufTraceSerializer.serializeRequest(readable)!, { level: 1 })
}

/** An ExportLogsServiceRequest, gzipped. */
export function encodeLogs(logs: readonly Log[], resource: Resource): Buffer {
  const readable = logs.map(({ traceId, spanId, time, name, severe, attributes }) => ({
    hrTime: hrTime(time),
    hrTimeObserved: hrTime(time),
    spanContext: context(traceId, spanId),
    severityNumber: severe ? SeverityNumber.WARN : SeverityNumber.INFO,
    severityText: severe ? 'WARN' : 'INFO',
    eventName: name,
    body: name,
    attributes: attributesOf(attributes),
    resource,
    instrumentationScope: scope,
    droppedAttributesCount: 0,
  }))
  return gzipSync(ProtobufLogsSerializer.serializeRequest(readable)!, { level: 1 })
}

/** How many were rejected for good, and why, of a 200's body. */
export function rejectedOf(signal: 'traces' | 'logs', body: Buffer): { count: number; message: string } {
  try {
    if (signal === 'traces') {
      const { partialSuccess } = ProtobufTraceSerializer.deserializeResponse(body)
      return { count: partialSuccess?.rejectedSpans ?? 0, message: partialSuccess?.errorMessage ?? '' }
    }
    const { partialSuccess } = ProtobufLogsSerializer.deserializeResponse(body)
    return { count: partialSuccess?.rejectedLogRecords ?? 0, message: partialSuccess?.errorMessage ?? '' }
  } catch {
    // Not protobuf: some collectors answer with JSON or nothing.
    return { count: 0, message: '' }
  }
}
