import { type Clock, wallMs } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import type { CursorRecord } from "./cursor-layout.ts";
import { confirmSetAside } from "./delivery.ts";
import type { BatchResult } from "./export-channel.ts";
import type { Exporter } from "./exporter.ts";
import type { CondemnedMessage, EntryOrigin } from "./set-aside-entry.ts";

/** What a companion stream was asked to take. */
export interface SetAsideRequest {
  readonly origin: EntryOrigin;
  readonly messages: readonly CondemnedMessage[];
}

export interface KeptAside {
  /** Of the companion stream. */
  readonly streamName: string;
  /** The `sequence` of those whose entry is durable. */
  readonly kept: readonly number[];
  /** Why not all are; empty if they are. */
  readonly error: string;
}

/** Stores messages in the companion stream of the stream that they came from. @throws {MillraceError} when it took none */
export type KeepAside = (request: SetAsideRequest) => Promise<KeptAside>;

/** What of an exporter's messages is stored, since its position was moved back last. */
interface KeptMessages {
  readonly rewoundMessages: number;
  readonly sequences: Set<number>;
}

/**
 * Has condemned messages stored before their exporter may pass them. One that was stored and is judged anew (its batch was read
 * again because an earlier message holds the position back) is not stored twice while the process lives.
 */
export class SetAsideKeeper {
  readonly #keep: KeepAside;
  readonly #clock: Clock;
  readonly #kept = new WeakMap<Exporter, KeptMessages>();

  constructor({ keep, clock }: { keep: KeepAside; clock: Clock }) {
    this.#keep = keep;
    this.#clock = clock;
  }

  /** Never rejects. What could not be stored stays condemned, and the next task hands it on again. */
  async settle(exporter: Exporter, result: BatchResult): Promise<BatchResult> {
    const { condemned, pending } = result;
    // First: what the position has passed must not count when a start that moved back has it judged anew.
    const kept = this.#keptOf(exporter, result.cursor);
    if (condemned.length === 0 || pending === undefined) return result;
    const fresh = condemned.filter(({ sequence }) => !kept.has(sequence));
    const { streamName, error } = await this.#store(exporter, fresh, kept);
    const sequences = fresh.flatMap(({ sequence }) => (kept.has(sequence) ? [sequence] : []));
    const reason = fresh.findLast(({ sequence }) => kept.has(sequence))?.error ?? "";
    const failure = error === "" ? "" : `cannot set aside what the destination refuses: ${error}`;
    const told = { sequences, reason, streamName, failure };
    return { ...result, pending: confirmSetAside(pending, kept), told };
  }

  async #store(
    exporter: Exporter,
    messages: readonly CondemnedMessage[],
    kept: Set<number>,
  ): Promise<{ streamName: string; error: string }> {
    if (messages.length === 0) return { streamName: "", error: "" };
    const { identifier, kind, destination } = exporter.settings;
    const nowMs = wallMs(this.#clock);
    const origin = { streamName: exporter.stream.name, identifier, kind, destination, nowMs };
    try {
      const stored = await this.#keep({ origin, messages });
      for (const sequence of stored.kept) kept.add(sequence);
      return stored;
    } catch (thrown) {
      return { streamName: "", error: asMillraceError(thrown).message };
    }
  }

  /** What lies below the position is not judged again, unless it was moved back: then it is another sending. */
  #keptOf(exporter: Exporter, { position, rewound }: CursorRecord): Set<number> {
    const before = this.#kept.get(exporter);
    const isAnew = before === undefined || before.rewoundMessages !== rewound.messages;
    const kept = isAnew ? new Set<number>() : before.sequences;
    this.#kept.set(exporter, { rewoundMessages: rewound.messages, sequences: kept });
    for (const sequence of kept) if (sequence < position) kept.delete(sequence);
    return kept;
  }
}
