// What a crash or a bad disk leaves of a spool, and what the next proxy makes of it.
import assert from 'node:assert/strict'
import { cpSync, existsSync, fdatasync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { adoptSpool } from '@agentaccess/proxy/adopt'
import { Door, lockSpool, Recorder, Spool, type SpoolDisk } from '@agentaccess/proxy/record'
import { DirectoryStore, generateSigningKeyPem, signerFromPem, trustGiven, verifyEvidence } from '@agentaccess/recording'
import { NAMESPACE, open, ship, work, written } from './make-evidence.ts'
import { Random } from './random.ts'
import { Scope } from './scope.ts'

const scope = new Scope('recovery')
const random = new Random()
const signer = signerFromPem(generateSigningKeyPem())
const trust = trustGiven(new Map([[signer.keyId, signer.publicKey]]))
const TRIALS = process.env.SOAK ? 500 : 60

const segmentsOf = (spool: string) =>
  readdirSync(spool)
    .filter((name) => name.endsWith('.seg'))
    .sort()

/** A spool as a killed proxy leaves it: sessions that ended, sessions that run, nothing shipped. */
async function killedSpool(name: string): Promise<{ spool: string; sessions: string[] }> {
  const live = join(scope.folder, `${name}-live`)
  const { recorder } = await adoptSpool(live, NAMESPACE, signer)
  const records = ['claude', 'cursor', 'chatgpt', 'codex', 'claude', 'cursor'].map((agent) => open(recorder, agent))
  for (let round = 0; round < 6; round++) {
    for (const record of records) work(record, 3)
    if (round === 2) records.shift()!.end('client')
    // What runs when the proxy is killed has a command without an answer.
    if (round === 4) records.at(-1)!.command({ 'db.query.text': 'UPDATE never_answered' })
  }
  records.shift()!.end('client')
  await written(recorder)
  const spool = join(scope.folder, name)
  cpSync(live, spool, { recursive: true })
  await recorder.close()
  const sessions = [
    ...new Set(
      readFileSync(join(spool, segmentsOf(spool)[0]!))
        .toString('latin1')
        .match(/"session":"[0-9a-f-]{36}"/g),
    ),
  ].map((text) => text.slice(11, -1))
  return { spool, sessions }
}

async function adoptAndVerify(spool: string) {
  const { recorder, warnings, interrupted } = await adoptSpool(spool, NAMESPACE, signer)
  const after = open(recorder, 'after')
  work(after, 1)
  after.end('client')
  await recorder.close()
  const evidence = `${spool}-evidence`
  await ship(spool, evidence, signer)
  const findings = await verifyEvidence(new DirectoryStore(evidence), { trust })
  return { findings, warnings, interrupted, after: findings.sessions.find(({ session }) => session === after.id)! }
}

/** A recorder without a past, on a disk that a test breaks. */
function recorderOn(folder: string, disk: SpoolDisk): Recorder {
  return new Recorder({
    spool: new Spool(folder, { disk }),
    spoolId: '00000000-0000-4000-8000-000000000000',
    signer,
    ledger: { seq: 0, head: Buffer.alloc(32), signedThrough: 0, lastN: 0 },
  })
}

describe('recovery', () => {
  let template: Awaited<ReturnType<typeof killedSpool>>
  before(async () => {
    console.log(`seed ${random.seed}`)
    template = await killedSpool('template')
  })
  after(() => scope.close())

  const copy = (name: string) => {
    const spool = join(scope.folder, name)
    cpSync(template.spool, spool, { recursive: true })
    const segment = join(spool, segmentsOf(spool)[0]!)
    return { spool, segment, size: statSync(segment).size }
  }

  test('sessions that a killed proxy left are ended as interrupted, and verify whole', async () => {
    const { findings, interrupted, warnings } = await adoptAndVerify(copy('plain').spool)
    assert.deepEqual(warnings, [])
    assert.equal(interrupted.length, 4)
    assert.deepEqual([...new Set(findings.sessions.map(({ verdict }) => verdict))], ['whole'])
    assert.deepEqual(findings.problems, [])
    assert.equal(findings.sessions.length, 7)
  })

  test('a spool that was adopted and left again in mid-adoption verifies whole', async () => {
    const { spool } = copy('again')
    await adoptSpool(spool, NAMESPACE, signer).then(({ recorder }) => recorder.close())
    const { findings } = await adoptAndVerify(spool)
    assert.deepEqual([...new Set(findings.sessions.map(({ verdict }) => verdict))], ['whole'])
  })

  test(`a log cut at any byte is taken over up to its last whole line (${TRIALS} places)`, async () => {
    for (let trial = 0; trial < TRIALS; trial++) {
      const { spool, segment, size } = copy(`torn-${trial}`)
      const at = 2000 + random.below(size - 2000)
      truncateSync(segment, at)
      const { findings, after } = await adoptAndVerify(spool)
      assert.equal(after.verdict, 'whole')
      // A session whose first line is cut off while its ledger entry stands says so itself.
      for (const { verdict, detail } of findings.sessions)
        assert.ok(verdict === 'whole' || (verdict === 'damaged' && /never written/.test(detail)), `cut at ${at} (seed ${random.seed}): ${verdict}, ${detail}`)
      assert.deepEqual(findings.problems, [], `cut at ${at} (seed ${random.seed})`)
    }
  })

  test(`damage in the middle is set aside: what it touched says so and names it, the rest is whole (${TRIALS} places)`, async () => {
    for (let trial = 0; trial < TRIALS; trial++) {
      const { spool, segment, size } = copy(`damaged-${trial}`)
      const bytes = readFileSync(segment)
      const length = 1 + random.below(3000)
      const from = random.below(size - length - 2000)
      const touched = new Set<string>()
      const touchedLines: string[] = []
      const text = bytes.toString('latin1')
      for (let i = 0; i < length; i++) bytes[from + i]! ^= 1 + random.below(255)
      writeFileSync(segment, bytes)
      // Which sessions had a frame in the bytes that changed.
      for (const match of text.matchAll(/\{"seq":\d+,"kind":"([a-z.]+)","(session|ledger)":"([0-9a-f-]{36})"[^\n]*?\}(?=\xa7AA\x1f|$)/g)) {
        const [start, end] = [match.index - 61, match.index + match[0].length]
        // The last signature is made again by who takes over: nothing is lost with it.
        const last = match[1] === 'checkpoint' && !text.includes(`"session":"${match[3]}","prev"`, match.index + match[0].length)
        if (start < from + length && end > from && !last) touchedLines.push(match[0].slice(0, 90))
        if (start < from + length && end > from && !last) touched.add(match[2] === 'ledger' ? 'ledger' : match[3]!)
      }
      const at = `${from} to ${from + length} (seed ${random.seed}, trial ${trial})`
      const { findings, warnings, after } = await adoptAndVerify(spool)
      assert.equal(after.verdict, 'whole', at)
      assert.match(warnings.join('\n'), /damaged/, at)
      assert.ok(existsSync(join(spool, 'damaged')))
      for (const { session, verdict, detail } of findings.sessions) {
        assert.ok(verdict === 'whole' || verdict === 'damaged', `${at}: ${session} ${verdict} ${detail}`)
        if (touched.has(session))
          assert.equal(verdict, 'damaged', `${at}: ${session}; ${warnings.join()}; ${touchedLines.filter((line) => line.includes(session)).join('; ')}`)
      }
      for (const session of template.sessions)
        assert.ok(findings.sessions.some((report) => report.session === session) || touched.has('ledger'), `${at}: ${session} is nowhere`)
      assert.ok(findings.sessions.some(({ verdict }) => verdict === 'whole'))
    }
  })

  test('two proxies never adopt the same spool', () => {
    const { spool } = copy('locked')
    const lock = lockSpool(spool)
    assert.throws(() => lockSpool(spool), /in use by another proxy/)
    lock.release()
    lockSpool(spool).release()
  })

  test('a disk that can not be written: what waits is failed, nothing passes, and it recovers by itself', async () => {
    let broken = false
    const folder = join(scope.folder, 'broken')
    const real = new Spool(folder)
    real.close()
    const recorder = recorderOn(folder, {
      write: (fd, bytes, offset, length) => {
        if (broken) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
        // Half of what is asked for, as a disk that fills up does.
        return writeSync(fd, bytes, offset, Math.max(1, length >> 1))
      },
      datasync: fdatasync,
    })
    const record = open(recorder, 'claude')
    work(record, 1)
    await written(recorder)
    broken = true
    record.command({ 'db.query.text': 'DELETE' })
    await assert.rejects(written(recorder), /no space left/)
    assert.match(recorder.blocked('shop/orders', 2 ** 30)!, /no space left/)
    broken = false
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.equal(recorder.blocked('shop/orders', 2 ** 30), undefined)
    record.result(4, { status: 'not executed', final: true })
    await written(recorder)
    await recorder.close()
    const lines = segmentsOf(folder).flatMap(
      (name) =>
        readFileSync(join(folder, name))
          .toString('latin1')
          .match(/"seq":\d+,"kind":"(?:command|result)"/g) ?? [],
    )
    assert.deepEqual(lines, ['"seq":2,"kind":"command"', '"seq":3,"kind":"result"', '"seq":4,"kind":"command"', '"seq":5,"kind":"result"'])
  })

  test('a disk that does not answer a sync within 5 s: new commands are refused, and it recovers by itself', async (t) => {
    let held: (() => void) | undefined
    const recorder = recorderOn(join(scope.folder, 'slow'), {
      write: (fd, bytes, offset, length) => writeSync(fd, bytes, offset, length),
      datasync: (_fd, done) => (held = () => done(null)),
    })
    const record = open(recorder, 'claude')
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const passed: string[] = []
    record.command({ 'db.query.text': 'DELETE' })
    recorder.gate.pass(
      'Synced',
      () => passed.push('synced'),
      () => passed.push('failed'),
    )
    recorder.gate.pass(
      'Written',
      () => passed.push('written'),
      () => passed.push('failed'),
    )
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.deepEqual(passed, ['written'], 'what need not be synced does not wait for it')
    t.mock.timers.tick(4000)
    assert.equal(recorder.blocked('shop/orders', 2 ** 30), undefined)
    t.mock.timers.tick(2000)
    assert.equal(recorder.blocked('shop/orders', 2 ** 30), 'the disk under the spool does not answer')
    while (passed.length < 2) {
      held?.()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    assert.deepEqual(passed, ['written', 'synced'])
    assert.equal(recorder.blocked('shop/orders', 2 ** 30), undefined)
    t.mock.timers.reset()
    const answering = setInterval(() => held?.(), 10)
    await recorder.close()
    clearInterval(answering)
  })

  test('refused connections are counted while nothing can be recorded, and written once it can', async () => {
    let broken = true
    const folder = join(scope.folder, 'refused')
    const recorder = recorderOn(folder, {
      write: (fd, bytes, offset, length) => {
        if (broken) throw Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' })
        return writeSync(fd, bytes, offset, length)
      },
      datasync: fdatasync,
    })
    await assert.rejects(recorder.openSession('shop/orders', {}).durable, /read-only/)
    const door = new Door(recorder, 'shop/orders', {})
    for (let i = 0; i < 30; i++) door.refused('10.0.0.1', {})
    for (let i = 0; i < 25_000; i++) door.refused(`source ${i}`, {})
    broken = false
    await new Promise((resolve) => setTimeout(resolve, 500))
    door.close()
    await recorder.close()
    const log = segmentsOf(folder)
      .map((name) => readFileSync(join(folder, name), 'latin1'))
      .join('')
    const counts = [...log.matchAll(/"kind":"connection\.refused".{0,200}?"count":(\d+)/g)].map(([, count]) => Number(count))
    assert.equal(
      counts.reduce((sum, count) => sum + count, 0),
      25_030,
    )
  })

  test('a quota that is used up blocks, and is free again when the evidence is stored', async () => {
    const spool = join(scope.folder, 'quota')
    const { recorder } = await adoptSpool(spool, NAMESPACE, signer)
    const record = open(recorder, 'claude')
    work(record, 100)
    assert.match(recorder.blocked('shop/orders', 10_000)!, /quota of shop\/orders is used up/)
    assert.equal(recorder.blocked('shop/others', 10_000), undefined, 'another access is not concerned')
    recorder.stored('shop/orders', 2 ** 20)
    assert.equal(recorder.blocked('shop/orders', 10_000), undefined)
    await recorder.close()
  })

  test('a full disk is noticed before it is full', async () => {
    let free = 2 ** 30
    const { recorder } = await adoptSpool(join(scope.folder, 'full'), NAMESPACE, signer, { freeBytes: () => Promise.resolve(free) })
    free = 1000
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.match(recorder.blocked('shop/orders', 2 ** 30)!, /disk under the spool is full/)
    free = 2 ** 30
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.equal(recorder.blocked('shop/orders', 2 ** 30), undefined)
    await recorder.close()
  })
})
