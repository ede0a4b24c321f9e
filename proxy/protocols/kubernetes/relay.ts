// An answer on its way to the agent: passed on as it comes, and the last of it once its result is in the log.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Asked } from './command.ts'
import { cannotRecord, type Running } from './exchange.ts'
import { keptAnswer } from './kept-answer.ts'
import { ResponseReader } from './response-reader.ts'
import { responseHeaders } from './upstream.ts'

/** Resolves once all has gone, or the agent has. @throws where the API server breaks off, and Refused where the result can't be recorded */
export function relay(from: IncomingMessage, to: ServerResponse, running: Running, asked: Asked): Promise<void> {
  const code = from.statusCode ?? 502
  running.code = code
  const reader = new ResponseReader(code, from.headers['content-type'] ?? '', asked.info.verb === 'list')
  const kept = keptAnswer(running, asked)
  running.beforeEnd = () => kept?.record()
  to.writeHead(code, from.statusMessage, responseHeaders(from.rawHeaders).flat())
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = []
    let scheduled = false
    let ended = false
    const write = () => {
      // All that came in one turn goes in one piece: each would wake the agent.
      for (const chunk of chunks) if (!to.write(chunk)) from.pause()
      chunks = []
    }
    const schedule = () => {
      if (scheduled) return
      scheduled = true
      setImmediate(() => {
        scheduled = false
        if (ended || to.destroyed) return
        // An answer may begin long before it has a first byte: a watch's does.
        if (chunks.length === 0) to.flushHeaders()
        write()
      })
    }
    const end = () => {
      if (!to.destroyed) {
        write()
        to.addTrailers(Object.entries(from.trailers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as [string, string]])))
        to.end()
      }
      resolve()
    }
    from.on('data', (chunk: Buffer) => {
      reader.add(chunk)
      kept?.add(chunk)
      if (asked.method !== 'HEAD') chunks.push(chunk)
      schedule()
    })
    from.once('end', () => {
      ended = true
      running.ends(resultOf(code, reader))
      running.session.pass(end, (why) => reject(cannotRecord(why)))
    })
    from.once('error', reject)
    to.on('drain', () => from.resume())
    to.once('close', resolve)
    schedule()
  })
}

function resultOf(code: number, reader: ResponseReader): Parameters<Running['ends']>[0] {
  const { items, reason, message } = reader.said()
  return {
    status: code >= 400 ? 'error' : 'ok',
    rows: items,
    attributes: {
      'http.response.status_code': code,
      'http.response.body.size': reader.bytes,
      ...(items === undefined ? {} : { 'db.response.returned_rows': items }),
      ...(code < 400 ? {} : { 'error.type': reason ?? String(code) }),
      ...(message === undefined ? {} : { 'agentaccess.error.message': message }),
    },
  }
}
