import { SequenceGapError } from "../../../src/core/errors.ts";
import { ProducerKeeper } from "../../../src/log/producer-keeper.ts";
import { ProducerRecovery } from "../../../src/log/producer-recovery.ts";
import { ProducerTable } from "../../../src/log/producer-table.ts";
import type { StreamLog } from "../../../src/log/stream-log.ts";
import { AppendStage } from "../../../src/stream/append-stage.ts";
import type { AppendRecord } from "../../../src/stream/stream-channel.ts";
import { UpSender } from "../../../src/stream/up-sender.ts";

/** Mistakes that make a repeat a loss or a double, each planted in a method of the sound code. The explorer must find them all. */
export interface ProducerBug {
  readonly name: string;
  readonly scenario: "flush" | "torn writes" | "overwrite";
  /** @returns what takes it out again */
  readonly plant: () => () => void;
}

/** Replaces a method for as long as the bug is there. */
function patch<Prototype extends object, Key extends keyof Prototype>(
  prototype: Prototype,
  key: Key,
  replacement: (original: Prototype[Key]) => Prototype[Key],
): () => void {
  const original = prototype[key];
  prototype[key] = replacement(original);
  return () => {
    prototype[key] = original;
  };
}

/** Of a batch that is stored already, durable or not. */
function firstSequenceOf(log: StreamLog, { producer, messageCount }: AppendRecord): number | undefined {
  try {
    return producer === undefined ? undefined : log.findBatch(producer, messageCount);
  } catch {
    return undefined;
  }
}

const nothing = (): void => undefined;

export const producerBugs: readonly ProducerBug[] = [
  {
    name: "a repeat is answered before its sync",
    scenario: "flush",
    plant: () => {
      let up: UpSender | undefined;
      const undo = [
        patch(UpSender.prototype, "flush", (original) => {
          return function (this: UpSender) {
            // eslint-disable-next-line @typescript-eslint/no-this-alias -- the sender of the agent at work
            up = this;
            return original.call(this);
          };
        }),
        patch(AppendStage.prototype, "gather", (original) => {
          return function (this: AppendStage, stream, request) {
            const first = firstSequenceOf(stream.log, request);
            if (first === undefined) original.call(this, stream, request);
            else up!.appended(request.token, first, { isRepeat: true });
          };
        }),
      ];
      return () => undo.forEach((takeOut) => takeOut());
    },
  },
  {
    name: "a batch counts before it is stored",
    scenario: "torn writes",
    plant: () =>
      patch(ProducerTable.prototype, "find", (original) => {
        return function (this: ProducerTable, producer, messageCount) {
          const stored = original.call(this, producer, messageCount);
          if (stored === undefined) this.record(producer, { firstSequence: 0, messageCount });
          return stored;
        };
      }),
  },
  {
    name: "only the newest batch is remembered",
    scenario: "flush",
    plant: () =>
      patch(ProducerTable.prototype, "find", (original) => {
        return function (this: ProducerTable, producer, messageCount) {
          const expected = this.expectedSequence(producer.id);
          if (producer.sequence < expected - 1) throw new SequenceGapError(expected, "not the newest");
          return original.call(this, producer, messageCount);
        };
      }),
  },
  {
    name: "what block headers say is not read at a start",
    scenario: "flush",
    plant: () => patch(ProducerRecovery.prototype, "addBlock", () => nothing),
  },
  {
    name: "what is remembered is not saved",
    scenario: "overwrite",
    plant: () => {
      const undo = [
        patch(ProducerKeeper.prototype, "saveAfterRoll", () => nothing),
        patch(ProducerKeeper.prototype, "saveBeforeDrop", () => nothing),
      ];
      return () => undo.forEach((takeOut) => takeOut());
    },
  },
  {
    name: "what is not durable is saved",
    scenario: "flush",
    plant: () =>
      patch(ProducerKeeper.prototype, "record", (original) => {
        return function (this: ProducerKeeper, runs, firstSequence) {
          original.call(this, runs, firstSequence);
          this.saveAfterRoll(firstSequence + runs.reduce((sum, { messageCount }) => sum + messageCount, 0));
        };
      }),
  },
];
