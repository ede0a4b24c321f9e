// What every protocol must do, whatever it speaks. A protocol passes it by a `Subject`: how to run its commands, and what
// its target got. Each failure mode is a row of a table.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Event } from '@agentaccess/recording'

/** Commands by what they are, in the protocol's own words. */
interface Words {
  /** Runs `n` at the target and succeeds. */
  allowed(n: number): string
  /** The rule `denied` matches it. */
  denied(n: number): string
  /** Fails at the target. */
  failing(n: number): string
}

/** One agent's connection. */
export interface Connection {
  /** Sends a command, and resolves with how it was answered. */
  run(command: string): Promise<'ok' | 'error' | 'denied'>
  /** Sends a command and does not wait. */
  send(command: string): void
  /** Goes away without a word. */
  drop(): Promise<void>
  /** Ends as the protocol has it. */
  close(): Promise<void>
}

export interface Subject {
  words: Words
  connect(): Promise<Connection>
  /** The commands that reached the target so far. */
  reached(): Promise<string[]>
  /** From now on nothing can be recorded; or again it can. */
  breakRecorder(broken: boolean): void
  /** Ends the proxy; the events of every session, the oldest first. */
  recorded(): Promise<Event[][]>
  verify(): Promise<string[]>
}

const textOf = (event: Event): string =>
  event.kind === 'command' ? String(event.attributes['db.query.text'] ?? event.attributes['agentaccess.command.text']) : ''

export function contract(name: string, start: () => Promise<Subject>): void {
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  const statuses = (events: readonly Event[]) => events.flatMap((event) => (event.kind === 'result' ? [event.status] : []))

  test(`${name}: each command is in the record, in order, with its status`, async () => {
    const subject = await start()
    const { words } = subject
    const connection = await subject.connect()
    assert.deepEqual(
      [
        await connection.run(words.allowed(1)),
        await connection.run(words.failing(2)),
        await connection.run(words.denied(3)),
        await connection.run(words.allowed(4)),
      ],
      ['ok', 'error', 'denied', 'ok'],
    )
    await connection.close()
    const [events] = await subject.recorded()
    assert.deepEqual(events!.map(textOf).filter(Boolean), [words.allowed(1), words.failing(2), words.denied(3), words.allowed(4)])
    assert.deepEqual(statuses(events!), ['ok', 'error', 'denied', 'ok'])
    assert.deepEqual(events!.filter(({ kind }) => kind === 'decision').length, 1)
    assert.deepEqual(await subject.reached(), [words.allowed(1), words.failing(2), words.allowed(4)])
    assert.deepEqual(await subject.verify(), ['whole'])
  })

  test(`${name}: an agent that goes away in the middle leaves a whole record`, async () => {
    const subject = await start()
    const connection = await subject.connect()
    await connection.run(subject.words.allowed(1))
    connection.send(subject.words.allowed(2))
    await connection.drop()
    await wait(300)
    const [events] = await subject.recorded()
    const reached = await subject.reached()
    for (const command of reached) assert.ok(events!.map(textOf).includes(command))
    assert.equal(events!.at(-2)!.kind, 'session.ended')
    assert.deepEqual(await subject.verify(), ['whole'])
  })

  for (const when of ['at setup', 'in mid-session'] as const) {
    test(`${name}: what can't be recorded is not forwarded (${when})`, async () => {
      const subject = await start()
      const connection = when === 'in mid-session' ? await subject.connect() : undefined
      await connection?.run(subject.words.allowed(1))
      const before = await subject.reached()
      subject.breakRecorder(true)
      const attempt = async () => (connection ?? (await subject.connect())).run(subject.words.allowed(2))
      assert.notEqual(await attempt().catch(() => 'refused'), 'ok')
      await wait(100)
      assert.deepEqual(await subject.reached(), before)
      subject.breakRecorder(false)
      await wait(500)
      const later = await subject.connect()
      assert.equal(await later.run(subject.words.allowed(3)), 'ok', 'it recovers by itself')
      await later.close()
      await connection?.drop()
      for (const verdict of await subject.verify()) assert.equal(verdict, 'whole')
    })
  }

  test(`${name}: many connections at once, each with what it ran`, async () => {
    const subject = await start()
    const { words } = subject
    await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        const connection = await subject.connect()
        for (let n = 0; n < 5; n++) assert.equal(await connection.run(words.allowed(i * 100 + n)), 'ok')
        await connection.close()
      }),
    )
    const sessions = await subject.recorded()
    const commands = sessions.flatMap((events) => events.map(textOf).filter(Boolean))
    assert.deepEqual(commands.toSorted(), (await subject.reached()).toSorted())
    assert.equal(commands.length, 50)
  })
}
