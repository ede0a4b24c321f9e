// A thousand random alterations of evidence: both verifiers find every one, and say the same.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { DirectoryStore, publicKeysFromPem, trustFound, trustGiven, verifyEvidence, type Findings, type Trust } from '@agentaccess/recording'
import { makeEvidence } from './make-evidence.ts'
import { Random } from './random.ts'
import { Scope } from './scope.ts'
import { filesBelow, rewritePart } from './tamper.ts'

const python = new URL('../build/python/bin/python', import.meta.url).pathname
const verifier = new URL('../recording/python/verify.py', import.meta.url).pathname
const COUNT = process.env.SOAK ? 5000 : 1000
const BATCH = 50

const scope = new Scope('alterations')
const random = new Random()
const whole = join(scope.folder, 'whole')
const earlier = join(scope.folder, 'earlier')
const publicKey = join(scope.folder, 'public-key.pem')
let trust: Trust

interface PythonFindings {
  sessions: Record<string, { verdict: string; detail: string }>
  problems: string[]
  heads: string[]
}

async function byPython(folders: string[], args = ['--public-key', publicKey]): Promise<PythonFindings[]> {
  assert.ok(existsSync(python), 'the second verifier is not set up: make setup')
  const { stdout } = await promisify(execFile)(python, [verifier, ...folders, ...args], { maxBuffer: 2 ** 28 }).catch(
    (error: { stdout: string; stderr: string; code: number }) => {
      assert.equal(error.code, 1, error.stderr)
      return error
    },
  )
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as PythonFindings)
}

const verdicts = ({ sessions }: Findings) => Object.fromEntries(sessions.map(({ session, verdict }) => [session, verdict]))
const pythonVerdicts = ({ sessions }: PythonFindings) => Object.fromEntries(Object.entries(sessions).map(([id, { verdict }]) => [id, verdict]))
const isWhole = ({ sessions, problems }: Findings) => problems.length === 0 && sessions.every(({ verdict }) => verdict === 'whole')

/** Everything that counts as evidence: the index does not. */
const objects = (folder: string) => filesBelow(folder).filter((file) => !file.startsWith('index/'))
const parts = (folder: string) => objects(folder).filter((file) => file.endsWith('.jsonl.zst'))

/** Each changes a copy and says what it did; undefined where it changed nothing. */
const alterations: Record<string, (folder: string) => string | undefined> = {
  flip(folder) {
    const file = random.pick(objects(folder))
    const bytes = readFileSync(join(folder, file))
    const at = random.below(bytes.length)
    bytes[at]! ^= 1 << random.below(8)
    writeFileSync(join(folder, file), bytes)
    return `${file} at ${at}`
  },
  cut(folder) {
    const file = random.pick(objects(folder))
    const { length } = readFileSync(join(folder, file))
    const to = random.below(length)
    truncateSync(join(folder, file), to)
    return `${file} to ${to}`
  },
  remove(folder) {
    const file = random.pick(objects(folder))
    rmSync(join(folder, file))
    return file
  },
  swap(folder) {
    const [one, other] = [random.pick(objects(folder)), random.pick(objects(folder))]
    const [a, b] = [readFileSync(join(folder, one)), readFileSync(join(folder, other))]
    if (a.equals(b)) return undefined
    writeFileSync(join(folder, one), b)
    writeFileSync(join(folder, other), a)
    return `${one} and ${other}`
  },
  add(folder) {
    const file = `${dirname(random.pick(objects(folder)))}/${random.pick(['extra', '00099-0.jsonl.zst', 'manifest.json.bak'])}`
    writeFileSync(join(folder, file), 'something')
    return file
  },
  'change a line with care': (folder) => {
    const file = random.pick(parts(folder))
    const changed = rewritePart(join(folder, file), (lines) => {
      const at = random.below(lines.length)
      return lines.slice(0, at) + String.fromCharCode(33 + random.below(90)) + lines.slice(at + 1)
    })
    return changed ? file : undefined
  },
  'drop a line with care': (folder) => {
    const file = random.pick(parts(folder))
    rewritePart(join(folder, file), (text) =>
      text
        .split('\n')
        .toSpliced(random.below(text.split('\n').length - 1), 1)
        .join('\n'),
    )
    return file
  },
  'swap lines with care': (folder) => {
    const file = random.pick(parts(folder))
    const changed = rewritePart(join(folder, file), (text) => {
      const lines = text.trimEnd().split('\n')
      const at = random.below(lines.length)
      const other = random.below(lines.length)
      ;[lines[at], lines[other]] = [lines[other]!, lines[at]!]
      return `${lines.join('\n')}\n`
    })
    return changed ? file : undefined
  },
  'remove a session': (folder) => {
    const session = dirname(random.pick(objects(folder).filter((file) => file.endsWith('manifest.json'))))
    rmSync(join(folder, session), { recursive: true })
    return session
  },
  'move a session': (folder) => {
    const session = dirname(random.pick(objects(folder).filter((file) => file.endsWith('manifest.json'))))
    const to = session.replace(/^sessions\/\d{4}/, 'sessions/2001')
    mkdirSync(dirname(join(folder, to)), { recursive: true })
    cpSync(join(folder, session), join(folder, to), { recursive: true })
    rmSync(join(folder, session), { recursive: true })
    return session
  },
  'roll back a session': (folder) => {
    const running = [
      ...new Set(
        objects(earlier)
          .filter((file) => file.startsWith('sessions/'))
          .map((file) => file.split('/').slice(0, 6).join('/')),
      ),
    ]
    const session = random.pick(running.filter((candidate) => !existsSync(join(earlier, candidate, 'manifest.json'))))
    rmSync(join(folder, session), { recursive: true })
    cpSync(join(earlier, session), join(folder, session), { recursive: true })
    return session
  },
  'roll back the ledger': (folder) => {
    rmSync(join(folder, 'ledger'), { recursive: true })
    cpSync(join(earlier, 'ledger'), join(folder, 'ledger'), { recursive: true })
    return 'ledger'
  },
}

describe('alterations', () => {
  let heads: string[] = []
  before(async () => {
    console.log(`seed ${random.seed}`)
    await makeEvidence({ spool: join(scope.folder, 'spool'), evidence: whole, earlier, publicKey })
    trust = trustGiven(publicKeysFromPem(readFileSync(publicKey, 'utf8')))
  })
  after(() => scope.close())

  test('untouched, both say that it is whole', async () => {
    const findings = await verifyEvidence(new DirectoryStore(whole), { trust })
    assert.ok(isWhole(findings), JSON.stringify(findings))
    assert.ok(findings.sessions.length >= 8)
    const [other] = await byPython([whole])
    assert.deepEqual(pythonVerdicts(other!), verdicts(findings))
    assert.deepEqual(other!.problems, [])
    assert.deepEqual(other!.heads, findings.heads.toSorted())
    heads = findings.heads
  })

  test('without a key from outside, both say that the signer is not checked', async () => {
    const store = new DirectoryStore(whole)
    const findings = await verifyEvidence(store, { trust: await trustFound(store) })
    assert.ok(findings.sessions.every(({ verdict }) => verdict === 'consistent, signer not checked'))
    const [other] = await byPython([whole], [])
    assert.deepEqual(pythonVerdicts(other!), verdicts(findings))
  })

  test('a copy rolled back as a whole is found by a head that was kept elsewhere, and only by that', async () => {
    const findings = await verifyEvidence(new DirectoryStore(earlier), { trust, atLeast: [heads[0]!] })
    assert.match(findings.problems.at(-1)!.message, /older than that head/)
    const [other] = await byPython([earlier], ['--public-key', publicKey, '--at-least', heads[0]!])
    assert.ok(other!.problems.includes('the ledger does not have the given head'))
    assert.ok(!(await verifyEvidence(new DirectoryStore(earlier), { trust })).sessions.some(({ verdict }) => verdict === 'altered'))
  })

  test(`${COUNT} random alterations are found by both, and judged alike`, async () => {
    const names = Object.keys(alterations)
    for (let done = 0; done < COUNT;) {
      const batch: { folder: string; what: string }[] = []
      while (batch.length < BATCH) {
        const folder = join(scope.folder, `copy-${done}`)
        cpSync(whole, folder, { recursive: true })
        const name = names[done % names.length]!
        const what = alterations[name]!(folder)
        if (what === undefined) {
          rmSync(folder, { recursive: true })
          continue
        }
        batch.push({ folder, what: `${name}: ${what} (seed ${random.seed}, number ${done})` })
        done++
      }
      const python = await byPython(batch.map(({ folder }) => folder))
      for (const [i, { folder, what }] of batch.entries()) {
        const findings = await verifyEvidence(new DirectoryStore(folder), { trust })
        assert.ok(!isWhole(findings), `not found: ${what}`)
        assert.deepEqual(pythonVerdicts(python[i]!), verdicts(findings), what)
        assert.equal(python[i]!.problems.length > 0, findings.problems.length > 0, `${what}: ${JSON.stringify([python[i]!.problems, findings.problems])}`)
        rmSync(folder, { recursive: true })
      }
    }
  })
})
