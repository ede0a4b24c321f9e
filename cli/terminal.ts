// What a terminal was sent, for showing it again: colours and cursor as they were, and nothing that would act on the terminal of
// who looks at it. ECMA-48, 5.6 "Control strings", 8.3; xterm's control sequences.

/** Control strings (OSC, DCS, APC, PM, SOS): titles, clipboard, queries. Up to their terminator, or to the end. */
// oxlint-disable-next-line no-control-regex -- that is what it is for
const CONTROL_STRING = /\x1b[\]P_^X][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)|[\x9d\x90\x9f\x9e\x98][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)/g
/** Control sequences that ask for an answer, or change the window or what is printed: DA, DSR, window operations, media copy. */
// oxlint-disable-next-line no-control-regex -- that is what it is for
const ACTING = /(?:\x1b\[|\x9b)[0-9;?>=!$"' ]*[cntiqx]/g
/** Answerback. */
// oxlint-disable-next-line no-control-regex -- that is what it is for
const ENQUIRY = /\x05/g

/** Takes pieces as they were recorded: one that ends within a sequence waits for the next. */
export class SafeTerminal {
  readonly #decoder = new TextDecoder('utf-8')
  #carry = ''

  show(bytes: Uint8Array): string {
    const text = this.#carry + this.#decoder.decode(bytes, { stream: true })
    const open = text.lastIndexOf('\x1b')
    // A sequence that is not over is kept, as long as it can still be one.
    const unfinished = open !== -1 && text.length - open < MAX_SEQUENCE && !isFinished(text.slice(open))
    this.#carry = unfinished ? text.slice(open) : ''
    return (unfinished ? text.slice(0, open) : text).replaceAll(CONTROL_STRING, '').replaceAll(ACTING, '').replaceAll(ENQUIRY, '')
  }
}

const MAX_SEQUENCE = 4096

function isFinished(sequence: string): boolean {
  const introducer = sequence[1]
  if (introducer === undefined) return false
  // oxlint-disable-next-line no-control-regex -- that is what it is for
  if ('[]P_^X'.includes(introducer)) return introducer === '[' ? /^\x1b\[[^@-~]*[@-~]/.test(sequence) : /[\x07\x9c]|\x1b\\/.test(sequence.slice(2))
  return true
}
