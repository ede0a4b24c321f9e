// Streams cut at every byte say the same; what can't be read, or is not the sender's to say, is refused.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { constants, createDeflate } from 'node:zlib'
import type { Running } from '../protocols/kubernetes/exchange.ts'
import { Channels } from '../protocols/kubernetes/channels.ts'
import { PortChannels } from '../protocols/kubernetes/port-channels.ts'
import { SPDY_DICTIONARY } from '../protocols/kubernetes/spdy-dictionary.ts'
import { SpdyDecoder } from '../protocols/kubernetes/spdy.ts'
import { SpdyStreams } from '../protocols/kubernetes/spdy-streams.ts'
import { ChannelDecoder, type StreamDecoder } from '../protocols/kubernetes/stream-decoders.ts'
import { Redactor } from '../record/redactor.ts'

/** What is said, a stream's pieces put together. */
class Said {
  readonly events: string[] = []
  readonly running = {
    command: 1,
    elapsedMs: 0,
    session: {
      record: {
        redactor: Redactor.none,
        output: (_: number, stream: string, __: number, data: Buffer, attributes?: object) => {
          const last = this.events.at(-1)
          if (attributes) this.events.push(`${stream} ${JSON.stringify(attributes)}`)
          else if (last?.startsWith(`${stream}: `)) this.events[this.events.length - 1] = last + data.toString()
          else this.events.push(`${stream}: ${data.toString()}`)
        },
      },
    },
  } as unknown as Running
}

function frame(payload: Buffer, { masked = false, opcode = 2, final = true } = {}): Buffer {
  const length = payload.length < 126 ? Buffer.from([payload.length]) : Buffer.from([126, payload.length >> 8, payload.length & 255])
  length[0]! |= masked ? 0x80 : 0
  const mask = masked ? Buffer.from([1, 2, 3, 4]) : Buffer.alloc(0)
  const body = masked ? payload.map((byte, i) => byte ^ mask[i & 3]!) : payload
  return Buffer.concat([Buffer.from([(final ? 0x80 : 0) | opcode]), length, mask, body])
}
const channel = (number: number, text: string) => Buffer.concat([Buffer.from([number]), Buffer.from(text)])
const FAILURE = JSON.stringify({
  status: 'Failure',
  reason: 'NonZeroExitCode',
  message: 'exit code 3',
  details: { causes: [{ reason: 'ExitCode', message: '3' }] },
})
const EXPECTED = {
  events: [
    'in {"agentaccess.terminal.columns":80,"agentaccess.terminal.rows":24}',
    `in: ${'typed'.repeat(40)}`,
    'in {"agentaccess.stream.end":true}',
    'out: hello',
    'err: oh',
  ],
  result: {
    attributes: {
      'agentaccess.stream.in.bytes': 200,
      'agentaccess.stream.out.bytes': 5,
      'agentaccess.stream.err.bytes': 2,
      'agentaccess.kubernetes.exit_code': 3,
      'error.type': 'NonZeroExitCode',
      'agentaccess.error.message': 'exit code 3',
    },
    succeeded: false,
  },
}

/** Cut into two at every byte, and then into single bytes. */
async function cutEverywhere(client: Buffer, target: Buffer, make: (said: Said) => StreamDecoder): Promise<void> {
  const feed = async (pieces: (bytes: Buffer) => Buffer[]) => {
    const said = new Said()
    const decoder = make(said)
    for (const piece of pieces(client)) await decoder.client(piece)
    for (const piece of pieces(target)) await decoder.target(piece)
    assert.deepEqual({ events: said.events, result: decoder.result() }, EXPECTED)
  }
  for (let at = 0; at <= Math.max(client.length, target.length); at++) await feed((bytes) => [bytes.subarray(0, at), bytes.subarray(at)])
  await feed((bytes) => [...bytes].map((byte) => Buffer.from([byte])))
}

function headerBlocks(...all: Record<string, string>[]): Promise<Buffer[]> {
  const deflate = createDeflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH })
  const text = (value: string) => Buffer.concat([Buffer.from([0, 0, 0, value.length]), Buffer.from(value)])
  const block = (headers: Record<string, string>) =>
    Buffer.concat([Buffer.from([0, 0, 0, Object.keys(headers).length]), ...Object.entries(headers).flatMap(([name, value]) => [text(name), text(value)])])
  return all.reduce<Promise<Buffer[]>>(async (before, headers) => {
    const done = await before
    await new Promise((resolve) => deflate.write(block(headers), resolve))
    return [...done, deflate.read() as Buffer]
  }, Promise.resolve([]))
}
function control(type: number, body: Buffer, flags = 0): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt16BE(0x8003, 0)
  header.writeUInt16BE(type, 2)
  header.writeUInt32BE(body.length, 4)
  header[4] = flags
  return Buffer.concat([header, body])
}
const synStream = (stream: number, block: Buffer) => control(1, Buffer.concat([Buffer.from([0, 0, 0, stream, 0, 0, 0, 0, 0, 0]), block]))
function data(stream: number, text: string, fin = false): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32BE(stream, 0)
  header.writeUInt32BE(text.length, 4)
  header[4] = fin ? 1 : 0
  return Buffer.concat([header, Buffer.from(text)])
}
async function spdyStreams(): Promise<Buffer[]> {
  const types = ['error', 'stdin', 'stdout', 'stderr', 'resize']
  const blocks = await headerBlocks(...types.map((streamtype) => ({ streamtype })))
  return blocks.map((block, i) => synStream(2 * i + 1, block))
}

describe('streams of the Kubernetes protocol', () => {
  test('channels over WebSocket, in frames and fragments, cut at every byte', async () => {
    const client = Buffer.concat([
      frame(channel(4, '{"Width":80,"Height":24}'), { masked: true }),
      frame(Buffer.from('ping'), { masked: true, opcode: 9 }),
      frame(channel(0, 'typed'.repeat(20)), { masked: true, final: false }),
      frame(Buffer.from('pong'), { masked: true, opcode: 10 }),
      frame(Buffer.from('typed'.repeat(20)), { masked: true, opcode: 0 }),
      frame(Buffer.from([255, 0]), { masked: true }),
    ])
    const target = Buffer.concat([
      frame(channel(1, '')),
      frame(channel(1, 'hello')),
      frame(channel(2, 'oh')),
      frame(channel(3, FAILURE)),
      frame(Buffer.from([3, 232]), { opcode: 8 }),
    ])
    await cutEverywhere(client, target, (said) => new ChannelDecoder(new Channels(said.running, true)))
  })

  test('the same over SPDY', async () => {
    const client = Buffer.concat([
      ...(await spdyStreams()),
      data(9, '{"Width":80,"Height":24}'),
      control(6, Buffer.from([0, 0, 0, 1])),
      data(3, 'typed'.repeat(40)),
      data(3, '', true),
    ])
    const target = Buffer.concat([data(5, 'hello'), data(7, 'oh'), data(1, FAILURE, true), control(7, Buffer.alloc(8))])
    await cutEverywhere(client, target, (said) => new SpdyDecoder(new SpdyStreams(new Channels(said.running, true))))
  })

  test('an agent can not say what only the target says', async () => {
    const decoder = () => new ChannelDecoder(new Channels(new Said().running, true))
    for (const number of [1, 2, 3, 7]) assert.throws(() => decoder().client(frame(channel(number, 'forged'), { masked: true })), /channel/)
    assert.throws(() => decoder().target(frame(channel(0, 'forged'))), /channel 0/)
    const spdy = new SpdyDecoder(new SpdyStreams(new Channels(new Said().running, true)))
    await assert.rejects(async () => spdy.client(Buffer.concat([...(await spdyStreams()), data(5, 'forged')])), /channel 1/)
    await assert.rejects(async () => spdy.target(synStream(2, (await headerBlocks({ streamtype: 'stdout' }))[0]!)), /opens a stream/)
  })

  test('what can not be read ends the stream', async () => {
    const decoder = () => new ChannelDecoder(new Channels(new Said().running, true))
    assert.throws(() => decoder().client(frame(channel(0, 'x'))), /not masked/)
    assert.throws(() => decoder().target(frame(channel(1, 'x'), { masked: true })), /is masked/)
    assert.throws(() => decoder().target(frame(channel(1, 'x'), { opcode: 0 })), /continues no message/)
    assert.throws(() => decoder().target(frame(channel(1, 'x'), { opcode: 3 })), /opcode 3/)
    const compressed = frame(channel(1, 'x'))
    compressed[0]! |= 0x40
    assert.throws(() => decoder().target(compressed), /extension/)
    const spdy = () => new SpdyDecoder(new SpdyStreams(new Channels(new Said().running, true)))
    await assert.rejects(async () => spdy().client(data(3, 'x')), /not open/)
    await assert.rejects(async () => spdy().client(control(11, Buffer.alloc(4))), /unknown version or type/)
    await assert.rejects(async () => spdy().client(synStream(1, Buffer.from('not zlib at all'))), /decompressed/)
  })

  test('port-forwarding: connections and bytes of each port, by either carrier', async () => {
    const [blocks, ports] = [
      await headerBlocks({ streamtype: 'error', port: '80', requestid: '0' }, { streamtype: 'data', port: '80', requestid: '0' }),
      new PortChannels([]),
    ]
    const spdy = new SpdyDecoder(new SpdyStreams(ports))
    await spdy.client(Buffer.concat([synStream(1, blocks[0]!), synStream(3, blocks[1]!), data(3, 'GET')]))
    await spdy.target(data(3, 'hello'))
    assert.deepEqual(spdy.result().attributes, { 'agentaccess.kubernetes.ports': { 80: { connections: 1, bytes: 8 } } })
    const channels = new ChannelDecoder(new PortChannels(['80', '443']))
    channels.target(Buffer.concat([frame(channel(0, 'P\0')), frame(channel(1, 'P\0')), frame(channel(2, '\u0001\u0001')), frame(channel(2, 'hello'))]))
    channels.client(frame(channel(2, 'GET'), { masked: true }))
    assert.deepEqual(channels.result().attributes, { 'agentaccess.kubernetes.ports': { 80: { connections: 1, bytes: 0 }, 443: { connections: 1, bytes: 8 } } })
  })
})
