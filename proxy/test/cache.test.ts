// What is remembered of a text must be what a fresh look at it says. Texts come from a grammar of PostgreSQL's, with literals in
// every spelling, and each is looked at among many that differ from it in their literals only.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { analyse, analyseAfresh } from '../protocols/postgres/sql/analyse.ts'
import { parserReady } from '../protocols/postgres/sql/parser.ts'

const TEXTS = process.env.SOAK ? 3_000_000 : 20_000

type Make = () => string

/** Stand for literals until they are filled in. */
const [NUMBER, TEXT] = ['\u{e001}', '\u{e002}']
/** How often each text is filled in. */
const VARIANTS = 4

class Grammar {
  readonly seed: number
  #state: number
  #depth = 0

  constructor(seed: number) {
    this.seed = this.#state = seed >>> 0
  }

  below(n: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * n)
  }

  one(...choices: readonly (string | Make)[]): string {
    const choice = choices[this.below(choices.length)]!
    return typeof choice === 'string' ? choice : choice()
  }

  some(make: Make, separator: string, most = 3): string {
    return Array.from({ length: 1 + this.below(most) }, make).join(separator)
  }

  readonly name = () => this.one('a', 'b1', 't', 'u', 's.t', '"q"', '"Q x"', '"q""r"', 'U&"d\\0061t"', 'é', 'set_config', '"set_config"', 'public.t')
  readonly blank = () => this.one(' ', ' ', ' ', '\n', '/* c */', "/* ' */", '/* /* n */ */', "-- it's\n", '--\r')
  readonly inner = () =>
    this.one(
      '',
      'x',
      '!',
      '?',
      "''",
      'DROP TABLE t',
      '; DELETE FROM t; --',
      '--',
      '/*',
      '*/',
      '$$',
      '"',
      '\\',
      'role',
      'client_encoding',
      'work_mem',
      'role',
      '\n',
    )
  readonly number = () => NUMBER
  readonly text = () => TEXT
  readonly #number = () => this.one('0', '1', '42', '999999999', '9999999999', '1.5', '.5', '1e5', '1e+5', '0x1F', '0b1', '1_000', '1.', '1a')
  readonly #text = () =>
    this.one(
      ...["'", "E'", "e'", "N'", "B'", "x'", "U&'"].map((open) => () => `${open}${this.inner()}'`),
      () => `$$${this.inner()}$$`,
      () => `$q$${this.inner()}$q$`,
      () => `'${this.inner()}'\n'${this.inner()}'`,
    )
  readonly literal = () => this.one(this.number, this.text, this.text, '$1', 'NULL', 'true')
  readonly value = (): string =>
    this.#depth > 3
      ? this.literal()
      : this.#deeper(() =>
          this.one(
            this.literal,
            this.literal,
            this.name,
            () => `${this.value()}${this.blank()}${this.one('+', '-', '||', '=', '<', '::', 'AND', 'IN', '~')} ${this.value()}`,
            () => `(${this.value()})`,
            () => `${this.one('f', 'lower', 'set_config', 'pg_catalog.set_config', 'dblink', 'nextval', 'SET_CONFIG')}(${this.some(this.value, ', ')})`,
            () => `(${this.select()})`,
            () => `CAST(${this.value()} AS ${this.one('int', 'text', 'float(3)', 'varchar(5)', 'numeric(5, 2)')})`,
            () => `ARRAY[${this.some(this.value, ', ')}]`,
            () => `- ${this.value()}`,
          ),
        )
  readonly select = (): string =>
    `${this.one('', '', () => `WITH x AS (${this.statement()}) `)}SELECT${this.blank()}${this.some(this.value, ', ')}${this.one('', () => ` FROM${this.blank()}${this.some(this.name, ', ')}`)}${this.one('', () => ` WHERE ${this.value()}`)}${this.one(
      '',
      '',
      () => ` LIMIT ${this.literal()}`,
      ' FOR UPDATE',
      () => ` INTO ${this.name()}`,
      () => ` UNION ${this.select()}`,
    )}`
  readonly statement = (): string =>
    this.#deeper(() =>
      this.one(
        this.select,
        this.select,
        () => `SELECT ${this.one('set_config', '"set_config"', 'pg_catalog.Set_Config')}(${TEXT}, ${TEXT}, true)`,
        () => `SELECT U&"!0074" UESCAPE ${TEXT}`,
        () => `INSERT INTO ${this.name()} VALUES (${this.some(this.value, ', ')})${this.one('', ' RETURNING *', ' ON CONFLICT DO NOTHING')}`,
        () => `UPDATE ${this.name()} SET a = ${this.value()} WHERE ${this.value()}`,
        () => `DELETE FROM ${this.name()} WHERE ${this.value()}`,
        () => `VALUES (${this.some(this.value, ', ')})`,
        () => `MERGE INTO ${this.name()} USING u ON ${this.value()} WHEN MATCHED THEN ${this.one('DELETE', () => `UPDATE SET a = ${this.value()}`)}`,
        () => `SET ${this.one('work_mem', 'client_encoding', 'ROLE', 'search_path')} ${this.one('=', 'TO')} ${this.literal()}`,
        () => `DO ${this.text()}`,
        () => `DO $$ BEGIN ${this.#depth > 3 ? 'NULL' : this.statement()}; END $$`,
        () => `EXPLAIN ${this.one('', 'ANALYZE ')}${this.select()}`,
        () => `PREPARE p AS ${this.select()}`,
        () => `EXECUTE p(${this.value()})`,
        () => `COPY ${this.name()} FROM ${this.one('STDIN', this.text, () => `PROGRAM ${this.text()}`)}`,
        () => `ALTER ROLE ${this.one('a', 'CURRENT_USER')} PASSWORD ${this.text()}`,
        () => `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ${this.text()}`,
        () => `SELECT ${this.number()}${this.one('', "'x'", 'a', '$1', '.5')}`,
      ),
    )
  /** The same text, with other literals. */
  fill(text: string): string {
    return text.replaceAll(NUMBER, this.#number).replaceAll(TEXT, this.#text)
  }

  readonly command = (): string => this.some(this.statement, ';', 2) + this.one('', '', ';', () => this.blank() + this.inner())

  #deeper<T>(make: () => T): T {
    this.#depth++
    try {
      return make()
    } finally {
      this.#depth--
    }
  }
}

describe('what is remembered', () => {
  before(() => parserReady)

  test(`${TEXTS} texts of a grammar: remembered, and looked at afresh, they are the same`, () => {
    const grammar = new Grammar(Number(process.env.SEED ?? Date.now()))
    console.log(`seed ${grammar.seed}`)
    let readable = 0
    for (let i = 0; i < TEXTS / VARIANTS; i++) {
      const command = grammar.command()
      for (let variant = 0; variant < VARIANTS; variant++) {
        const text = grammar.fill(command)
        const [remembered, fresh] = [analyse(text), analyseAfresh(text)]
        // A literal may make a text that the server refuses, as this parser does: it runs nothing, whatever is remembered of others.
        if (fresh.unreadable !== undefined && !fresh.unreadable.includes('backslash')) continue
        readable++
        assert.deepEqual(remembered, fresh, `${JSON.stringify(text)} (seed ${grammar.seed})`)
      }
    }
    assert.ok(readable > TEXTS / 5, `only ${readable} texts were SQL`)
  })
})
