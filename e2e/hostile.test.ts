// Hostile and random frames against a target that keeps every byte it gets: whatever it received has an earlier record.
import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import type { Event } from '@agentaccess/recording'
import { startHarness, TOKEN } from './harness.ts'
import { Random } from './random.ts'
import { Scope } from './scope.ts'
import { build, messages, types, WireClient } from './wire-client.ts'

const FRAMES = process.env.SOAK ? 200_000 : 20_000
const scope = new Scope('hostile')
const random = new Random()

/** A target that lets anyone in, answers every request as if it had worked, and keeps what it got after start-up. */
class CapturingTarget {
  readonly server = createServer((socket) => this.#serve(socket))
  readonly received: Buffer[] = []
  port = 0

  #serve(socket: Socket): void {
    const got: Buffer[] = []
    let started = false
    let rest: Buffer = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      if (!started) {
        started = true
        const key = Buffer.alloc(8)
        key.writeUInt32BE(4711)
        socket.write(Buffer.concat([build.raw('R', Buffer.alloc(4)), build.raw('K', key), build.raw('Z', Buffer.from('I'))]))
        return
      }
      got.push(chunk)
      rest = Buffer.concat([rest, chunk])
      for (const { type, body } of messages(rest)) {
        rest = rest.subarray(5 + body.length)
        const answer = this.#answer(type, body)
        if (answer) socket.write(answer)
      }
    })
    socket.on('close', () => this.received.push(Buffer.concat(got)))
  }

  /** Nothing of it fails but the proxy's own Execute of a portal that is not there. */
  #answer(type: string, body: Buffer): Buffer | undefined {
    const ready = build.raw('Z', Buffer.from('I'))
    const done = build.raw('C', Buffer.from('SELECT 0\0'))
    switch (type) {
      case 'Q':
        return Buffer.concat([done, ready])
      case 'P':
        return build.raw('1', Buffer.alloc(0))
      case 'B':
        return build.raw('2', Buffer.alloc(0))
      case 'C':
        return build.raw('3', Buffer.alloc(0))
      case 'D':
        return body[0] === 'S'.charCodeAt(0)
          ? Buffer.concat([build.raw('t', Buffer.alloc(2)), build.raw('n', Buffer.alloc(0))])
          : build.raw('n', Buffer.alloc(0))
      case 'E':
        return /^[0-9a-f]{32}\0/.test(body.toString('latin1')) ? build.raw('E', Buffer.from('SERROR\0C34000\0Mno\0\0')) : done
      case 'F':
        return Buffer.concat([build.raw('V', Buffer.from([255, 255, 255, 255])), ready])
      case 'S':
        return ready
      default:
        return undefined
    }
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    const address = this.server.address()
    this.port = typeof address === 'object' && address ? address.port : 0
  }
}

const names = ['', 's', 'p', 'S']
let serial = 0

/** A frame: often a right one, often one that is nearly right, sometimes noise. Each text is told from every other. */
function hostileFrame(): Buffer {
  const sql = () => `SELECT ${random.pick(['1', "'x'", 'pg_sleep(0)', 'nope(', "'"])} /* #${serial++}# */`
  const right = random.pick([
    () => build.query(sql()),
    () => build.query(`DELETE FROM t /* #${serial++}# */`),
    () => build.parse(random.pick(names), sql()),
    () => build.parse(random.pick(names), `DELETE FROM t /* #${serial++}# */`),
    () => build.bind(random.pick(names), random.pick(names), random.pick([[], ['1'], [null]])),
    () => build.describe(random.pick(['S', 'P']), random.pick(names)),
    () => build.execute(random.pick(names), random.below(3)),
    () => build.close(random.pick(['S', 'P']), random.pick(names)),
    () => build.functionCall(random.below(1000)),
    () => random.pick([...Array.from({ length: 12 }, () => build.sync()), build.copyData('data'), build.copyDone(), build.copyFail('no')]),
    () => build.sync(),
    () => build.sync(),
    () => build.flush(),
  ])()
  const mutation = random.below(150)
  if (mutation === 0) right[random.below(right.length)] = random.below(256)
  if (mutation === 1) return Buffer.from(Array.from({ length: random.below(40) }, () => random.below(256)))
  if (mutation === 2) return right.subarray(0, random.below(right.length))
  if (mutation === 3) right.writeInt32BE(random.below(2 ** 31) * (random.below(2) ? 1 : -1), 1)
  if (mutation === 4) return build.raw(String.fromCharCode(random.below(256)), Buffer.alloc(random.below(20)))
  return right
}

/** The texts of the messages that the target was sent, in order, and how many function calls. */
function effects(received: Buffer): string[] {
  return messages(received).flatMap(({ type, body }) => {
    if (type === 'Q' || type === 'P') return [...body.toString('latin1').matchAll(/#\d+#/g)].map(([id]) => id)
    return type === 'F' ? ['F'] : []
  })
}

function recordedEffects(events: readonly Event[]): string[] {
  return events.flatMap((event) => {
    if (event.kind === 'statement' || (event.kind === 'command' && event.attributes['agentaccess.message'] === 'Query'))
      return String(event.attributes['db.query.text']).match(/#\d+#/g) ?? []
    return event.kind === 'command' && event.attributes['agentaccess.message'] === 'FunctionCall' ? ['F'] : []
  })
}

describe('hostile', () => {
  const target = new CapturingTarget()
  before(async () => {
    console.log(`seed ${random.seed}`)
    await target.listen()
  })
  after(async () => {
    target.server.close()
    await scope.close()
  })

  test(`of ${FRAMES} frames, whatever reached the target has an earlier record, and nothing that was denied did`, async () => {
    const rules = [{ name: 'no-delete', when: "'DELETE' in command.operations", action: 'Deny' as const }]
    const harness = await startHarness(scope, target.port, { access: { policy: { default: 'Allow', rules } } })
    let sent = 0
    let sessions = 0
    let violations = 0
    while (sent < FRAMES) {
      const client = await WireClient.connect(harness.port, { password: TOKEN })
      sessions++
      const frames = Array.from({ length: 1 + random.below(60) }, hostileFrame)
      sent += frames.length
      for (const frame of frames) {
        client.send(frame)
        if (random.below(8) === 0) await new Promise((resolve) => setImmediate(resolve))
      }
      client.socket.end()
      await client.until(() => false)
      if (messages(client.peek()).some(({ type, body }) => type === 'E' && body.includes('08P01'))) violations++
    }
    const records = await harness.recorded()
    const findings = await harness.verify()
    assert.deepEqual(
      findings.sessions.filter(({ verdict }) => verdict !== 'whole'),
      [],
    )
    assert.equal(records.length, sessions)
    assert.ok(violations > sessions / 10, 'hostile frames were refused as such')
    await new Promise((resolve) => setTimeout(resolve, 200))
    const all = new Map(records.flatMap((events) => recordedEffects(events).map((id, at) => [id, { events, at }] as const)))
    let reached = 0
    for (const received of target.received) {
      const got = effects(received)
      reached += got.length
      assert.ok(!received.includes('DELETE'), `a denied statement reached the target (seed ${random.seed})`)
      for (const id of got) assert.ok(all.has(id), `${id} reached the target and is not in the record (seed ${random.seed})`)
      // Only whole messages of known types go to a target.
      assert.match(types(received), /^[QPBDECFSHXdcf]*$/, `seed ${random.seed}`)
      assert.equal(
        messages(received).reduce((sum, { body }) => sum + 5 + body.length, 0),
        received.length,
        `seed ${random.seed}`,
      )
    }
    assert.ok(reached > FRAMES / 50, `only ${reached} statements reached the target`)
  })
})
