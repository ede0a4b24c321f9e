// The thread that reads large statements: it may run out of memory and die of one, and nothing else does.
import { parentPort } from 'node:worker_threads'
import { Redactor } from '../../../record/redactor.ts'
import { analyseAfresh } from './analyse.ts'
import type { Analysis } from './facts.ts'
import { parserBroken, parserReady } from './parser.ts'
import { redactSql } from './redact.ts'

export interface LargeText {
  text: string
  /** RE2, of the access. */
  patterns: readonly string[]
}

/** First what may be recorded, then what it means: the second can be the end of the thread. */
export type ReadingReport = { kind: 'recorded'; text: string } | { kind: 'analysis'; analysis: Analysis; parserBroken: boolean }

parentPort?.on('message', ({ text, patterns }: LargeText) => {
  const report = (message: ReadingReport) => parentPort!.postMessage(message)
  report({ kind: 'recorded', text: redactSql(text, new Redactor(patterns, Infinity)) })
  void parserReady.then(() => {
    const analysis = analyseAfresh(text)
    report({ kind: 'analysis', analysis, parserBroken })
  })
})
