import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { WorkQueue } from '../work-queue.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('work queue', () => {
  test('a key is worked on once at a time, and once more where it came meanwhile', async () => {
    const running = new Map<string, () => void>()
    const done: string[] = []
    const queue = new WorkQueue({
      concurrency: 2,
      failed: () => {},
      work: async (key) => {
        assert.ok(!running.has(key))
        await new Promise<void>((resolve) => running.set(key, resolve))
        running.delete(key)
        done.push(key)
      },
    })
    for (const key of ['a', 'a', 'b', 'c', 'a']) queue.add(key)
    assert.deepEqual([...running.keys()], ['a', 'b'])
    queue.add('a')
    queue.add('a')
    running.get('a')!()
    await turn()
    assert.deepEqual(done, ['a'])
    // Once more, however often it came; and it had come before c.
    assert.deepEqual([...running.keys()].sort(), ['a', 'b'])
    for (const key of ['a', 'b']) running.get(key)!()
    await turn()
    assert.deepEqual([...running.keys()], ['c'])
    running.get('c')!()
    await turn()
    assert.deepEqual(done.toSorted(), ['a', 'a', 'b', 'c'])
  })

  test('what fails is tried again, later; stopping ends that', async () => {
    let tries = 0
    const failures: unknown[] = []
    const queue = new WorkQueue({
      concurrency: 1,
      failed: (_key, error) => failures.push(error),
      work: async () => {
        if (++tries < 3) throw new Error(`try ${tries}`)
      },
    })
    queue.add('a')
    while (tries < 3) await new Promise((resolve) => setTimeout(resolve, 20))
    await queue.stop()
    assert.equal(failures.length, 2)
    queue.add('a')
    await turn()
    assert.equal(tries, 3)
  })
})
