// Where a thread's code lies: beside who starts it, in the sources; in the image beside the program that holds it.

/** `from`: import.meta.url of who starts it. */
export const threadFile = (name: string, from: string): URL => new URL(`./${name}.${from.endsWith('.ts') ? 'ts' : 'js'}`, from)
