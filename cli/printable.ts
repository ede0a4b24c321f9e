// Text of an agent's, for a person's terminal: it must not be able to move the cursor or hide what came before.

/** Control characters, and those that change the direction of text, as escapes. Line breaks stay where `lines` says so. */
export function printable(text: string, lines = false): string {
  // oxlint-disable-next-line no-control-regex -- that is what it is for
  const escaped = text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (character) =>
    character === '\t' ? '\t' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return lines ? escaped : escaped.replaceAll('\n', '\\n')
}

/** Columns as wide as their widest cell, two blanks between them. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
