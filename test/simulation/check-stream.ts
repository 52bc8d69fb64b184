import type { MillraceClient } from "../../src/client/millrace-client.ts";
import type { AppendChecker } from "./append-checker.ts";

/** A pass that is not full reads this much again of what it has seen. */
const READ_AGAIN_COUNT = 500;
const READ_COUNT_MAX = 20_000;

/** Reads what is new, and some or all of what is not. @returns how many messages were ever stored */
export async function checkStream(
  client: MillraceClient,
  checker: AppendChecker,
  { isFull }: { isFull: boolean },
): Promise<number> {
  const { storageStatus } = await client.describeMessageStream(checker.stream);
  const { oldestSequenceNumber, newestSequenceNumber } = storageStatus;
  const nextSequence = newestSequenceNumber + 1;
  let next = isFull
    ? oldestSequenceNumber
    : Math.max(oldestSequenceNumber, checker.walkedEnd - READ_AGAIN_COUNT);
  while (next < nextSequence) {
    const messages = await client.readMessages(checker.stream, {
      desiredStartSequenceNumber: next,
      minMessageCount: 1,
      maxMessageCount: READ_COUNT_MAX,
    });
    checker.walk(messages.map(({ sequenceNumber, payload }) => ({ sequence: sequenceNumber, payload })));
    next = messages.at(-1)!.sequenceNumber + 1;
  }
  checker.finish({ oldestSequence: oldestSequenceNumber, nextSequence });
  return nextSequence;
}
