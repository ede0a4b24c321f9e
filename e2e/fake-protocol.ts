// A protocol that is nothing like Postgres, to show what the seam carries: a session lives longer than a connection and is
// joined by a key; one connection has many channels whose commands interleave; a decision may take its time.
//
//   agent → proxy   one line each:  <channel> <command>
//   proxy → agent                   <channel> ok | error | denied
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { noFacts, type Decision } from '@agentaccess/proxy/decide'
import type { Access, Session } from '@agentaccess/proxy/seam'

/** What the "target" got, in order. */
export type Target = (command: string) => Promise<'ok' | 'error'>

/** A person who decides: resolves when they have. Undefined where nobody need be asked. */
export type Approver = (command: string) => Promise<Decision> | undefined

export class FakeProtocol {
  readonly #target: Target
  readonly #approve: Approver

  constructor(target: Target, approve: Approver = () => undefined) {
    this.#target = target
    this.#approve = approve
  }

  async serve(socket: Socket, access: Access): Promise<void> {
    socket.on('error', () => {})
    const start = {
      identity: { agent: 'claude', proof: 'shared token' as const, standing: 'attested' as const },
      task: { task: 'FAKE-1', source: 'the protocol' },
      client: { address: socket.remoteAddress ?? '', port: 0 },
      target: { kind: 'fake', host: 'nowhere', port: 1, database: '' },
      attributes: {},
    }
    try {
      // One session for access, agent and task, over all connections.
      const session = await access.sessions.open(access, start, 'claude/FAKE-1')
      socket.write('ready\n')
      for await (const line of createInterface({ input: socket })) {
        const at = line.indexOf(' ')
        // Not awaited: the next channel does not wait for this one.
        void this.#run(session, line.slice(at + 1)).then(
          (answer) => socket.write(`${line.slice(0, at)} ${answer}\n`),
          () => socket.destroy(),
        )
      }
    } catch {
      socket.destroy()
    }
  }

  async #run(session: Session, text: string): Promise<string> {
    if (session.blocked() !== undefined) return 'denied'
    const command = session.record.command({ 'agentaccess.command.text': text })
    const approval = this.#approve(text)
    const decision = approval ? await approval : await session.decide(command, { text, facts: { ...noFacts, operations: [text.split(' ')[0]!] } })
    if (decision.action === 'deny') {
      session.record.result(command, { status: 'denied', final: true })
      return 'denied'
    }
    await new Promise<void>((resolve, reject) => session.pass(resolve, (reason) => reject(new Error(reason))))
    const status = await this.#target(text)
    session.record.result(command, { status, final: true })
    return status
  }
}
