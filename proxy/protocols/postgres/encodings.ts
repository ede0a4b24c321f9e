// Client encodings. In some (SJIS, BIG5, GBK…) the second byte of a character can be a backslash or a quote: a text means
// something else there than what a reader of UTF-8 sees. So only those pass in which every ASCII byte is an ASCII character
// and the record is readable (PostgreSQL documentation, 23.3 "Character Set Support").
import type { PostgresError } from './wire.ts'

const READABLE: ReadonlySet<string> = new Set(['utf8', 'unicode', 'sqlascii'])

/** As the server compares names of encodings: letters and digits only, in small. */
export const isReadableEncoding = (name: string): boolean => READABLE.has(name.toLowerCase().replaceAll(/[^a-z0-9]/g, ''))

/** The first client_encoding that start-up asks for and that is not let through, in a parameter or in `options`; undefined where there is none. */
export function unreadableEncoding(parameters: ReadonlyMap<string, string>): string | undefined {
  for (const [name, value] of parameters) {
    const asked = name === 'options' ? settingsOf(value) : [[name, value] as const]
    for (const [setting, encoding] of asked) if (setting.toLowerCase() === 'client_encoding' && !isReadableEncoding(encoding)) return encoding
  }
  return undefined
}

/** The settings of the start-up parameter `options`: `-c name=value` and `--name=value`, split as pg_split_opts does. */
function settingsOf(options: string): [name: string, value: string][] {
  const words = [...options.matchAll(/(?:\\[^]|[^\s\\])+/g)].map(([word]) => word.replaceAll(/\\([^])/g, '$1'))
  const settings: [string, string][] = []
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    // -c takes the rest of its word, or the next one; other switches may stand before it in the same word.
    const given = word.startsWith('--') ? word.slice(2) : /^-[^c]*c(.*)$/s.exec(word)?.[1]
    const text = given === '' ? words[++i] : given
    const equals = text?.indexOf('=') ?? -1
    if (text !== undefined && equals > 0) settings.push([text.slice(0, equals).replaceAll('-', '_'), text.slice(equals + 1)])
  }
  return settings
}

/** What a client is told, at start-up or when it changes. */
export const encodingRefused = (encoding: string): Omit<PostgresError, 'severity'> => ({
  sqlstate: '22023',
  message: `client_encoding ${JSON.stringify(encoding)} is not let through`,
  hint: 'Only UTF8 and SQL_ASCII are: set PGCLIENTENCODING=UTF8.',
})
