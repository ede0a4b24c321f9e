// Generated from recording/schema/event.schema.json by `make generate`. Do not edit.

/**
 * One line of a session. Readers accept fields and kinds they do not know.
 */
export type Event =
  | SessionStarted
  | Statement
  | Command
  | Execute
  | Decision
  | Result
  | Output
  | OutputCapped
  | Cancel
  | ConnectionRefused
  | TaskChanged
  | PolicyChanged
  | Gap
  | Checkpoint
  | SessionEnded;
/**
 * Position in the session, from 1, without gaps, checkpoints included.
 */
export type Seq = number;
/**
 * UUIDv7 of the session; its time part is the session's start.
 */
export type SessionId = string;
/**
 * RFC 3339, UTC, milliseconds: when the proxy made the line.
 */
export type Time = string;
/**
 * The `seq` of the `command` or `statement` event that this one belongs to (a command names itself).
 */
export type CommandRef = number;
/**
 * `skipped`: the target ignored it after an earlier error. `not executed`: it was bound, and the session went on without it. `outcome unknown`: the proxy or the connection ended first.
 */
export type ResultStatus = "ok" | "error" | "denied" | "skipped" | "cancelled" | "not executed" | "outcome unknown";
/**
 * Lower-case hexadecimal SHA-256.
 */
export type Sha256 = string;
/**
 * Ed25519 signature, base64.
 */
export type Signature = string;

/**
 * Who, how proven, to what, under which policy. Always the first line of a session.
 */
export interface SessionStarted {
  kind: "session.started";
  seq: Seq;
  session: SessionId;
  time: Time;
  format: "agentaccess/session/1";
  /**
   * This session's number in the proxy's ledger.
   */
  ledger: {
    spool: string;
    n: number;
    [k: string]: unknown;
  };
  attributes: Attributes;
  [k: string]: unknown;
}
/**
 * Named after OpenTelemetry's semantic conventions where one exists; what is ours begins with `agentaccess.`.
 */
export interface Attributes {
  [k: string]: unknown;
}
/**
 * Text that the target is asked to prepare. Recorded before it is forwarded.
 */
export interface Statement {
  kind: "statement";
  seq: Seq;
  session: SessionId;
  time: Time;
  attributes: Attributes;
  [k: string]: unknown;
}
/**
 * Something that can have an effect at the target. Recorded before its first byte is forwarded.
 */
export interface Command {
  kind: "command";
  seq: Seq;
  session: SessionId;
  time: Time;
  command: CommandRef;
  attributes: Attributes;
  [k: string]: unknown;
}
/**
 * A command begins to run later than, or out of order with, its `command` event.
 */
export interface Execute {
  kind: "execute";
  seq: Seq;
  session: SessionId;
  time: Time;
  command: CommandRef;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * Where it was not a plain allow.
 */
export interface Decision {
  kind: "decision";
  seq: Seq;
  session: SessionId;
  time: Time;
  command?: CommandRef;
  action: "deny" | "alert";
  rule: string;
  message?: string;
  revision?: string;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * What became of a command. A command with several statements has a result for each.
 */
export interface Result {
  kind: "result";
  seq: Seq;
  session: SessionId;
  time: Time;
  command: CommandRef;
  status: ResultStatus;
  /**
   * Which statement of the command, from 1.
   */
  statement?: number;
  /**
   * False where another result of the same command follows.
   */
  final: boolean;
  durationMs?: number;
  copy?: DataDigest;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * Bulk data so far: payload bytes of the CopyData messages, one after another.
 */
export interface DataDigest {
  direction: "in" | "out";
  rows?: number;
  bytes: number;
  sha256: Sha256;
  [k: string]: unknown;
}
/**
 * Terminal or data bytes, with their time since the command began.
 */
export interface Output {
  kind: "output";
  seq: Seq;
  session: SessionId;
  time: Time;
  command: CommandRef;
  stream: "in" | "out" | "err";
  offsetMs: number;
  /**
   * base64
   */
  data: string;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * Output beyond the access's cap is not in the record.
 */
export interface OutputCapped {
  kind: "output.capped";
  seq: Seq;
  session: SessionId;
  time: Time;
  command: CommandRef;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * A request to cancel what the session is running.
 */
export interface Cancel {
  kind: "cancel";
  seq: Seq;
  session: SessionId;
  time: Time;
  command?: CommandRef;
  attributes: Attributes;
  [k: string]: unknown;
}
/**
 * A connection that did not become a session.
 */
export interface ConnectionRefused {
  kind: "connection.refused";
  seq: Seq;
  session: SessionId;
  time: Time;
  /**
   * How many this line stands for.
   */
  count: number;
  until?: Time;
  attributes: Attributes;
  [k: string]: unknown;
}
/**
 * The agent named another task.
 */
export interface TaskChanged {
  kind: "task.changed";
  seq: Seq;
  session: SessionId;
  time: Time;
  attributes: Attributes;
  [k: string]: unknown;
}
/**
 * The rules in force changed; every later decision is by these.
 */
export interface PolicyChanged {
  kind: "policy.changed";
  seq: Seq;
  session: SessionId;
  time: Time;
  revision: string;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * Lines that are not here. With `chain`, the spool was damaged: `seq` to `through` are lost, and the chain goes on from `chain` at line `through` + 1; signed, because no checkpoint covers it.
 */
export interface Gap {
  kind: "gap";
  seq: Seq;
  session: SessionId;
  time: Time;
  reason: string;
  /**
   * Last sequence number that is lost.
   */
  through?: number;
  before?: Sha256;
  chain?: Sha256;
  key?: Sha256;
  sig?: Signature;
  attributes?: Attributes;
  [k: string]: unknown;
}
/**
 * A signature over everything up to and including `through`.
 */
export interface Checkpoint {
  kind: "checkpoint";
  seq: Seq;
  session: SessionId;
  time: Time;
  through: number;
  head: Sha256;
  mode: "live" | "adopted";
  /**
   * Only where adopted: the first sequence number that no live checkpoint covered.
   */
  adoptedFrom?: number;
  key: Sha256;
  sig: Signature;
  /**
   * Bulk data in flight.
   */
  copies?: {
    command: CommandRef;
    data: DataDigest;
    [k: string]: unknown;
  }[];
  [k: string]: unknown;
}
/**
 * By whom, and totals. Only a checkpoint follows.
 */
export interface SessionEnded {
  kind: "session.ended";
  seq: Seq;
  session: SessionId;
  time: Time;
  by: "client" | "target" | "policy" | "suspended" | "proxy" | "interrupted";
  reason?: string;
  totals: {
    commands: number;
    denied: number;
    errors: number;
    rows: number;
    [k: string]: unknown;
  };
  [k: string]: unknown;
}
