import { readFileSync } from "node:fs";
import type { KinesisClient } from "@aws-sdk/client-kinesis";
import type { MillraceClient } from "../client/index.ts";
import { MessageComparison } from "./demo-compare.ts";
import { readBack } from "./demo-kinesis.ts";

/** A stream that has sent nothing for so long is not going to. */
const SILENCE_MS = 60_000;

export interface ComparisonOptions {
  readonly name: string;
  readonly run: string;
  /** File of the producer's journal. */
  readonly journal: string;
  /** Told now and then how many messages have been compared. */
  readonly show: (comparedCount: number) => void;
}

const SHOWN_EVERY = 1000;

/** Reads a stream from its first message to the newest and compares each with what was sent. */
export async function compareStream(
  client: MillraceClient,
  { name, run, journal, show, newestSequence }: ComparisonOptions & { newestSequence: number },
): Promise<MessageComparison> {
  const comparison = new MessageComparison({
    run,
    journal: readFileSync(journal),
    ignoresOtherRuns: false,
  });
  if (newestSequence < 0) return comparison;
  const subscription = await client.subscribe(name, {
    onGap: ({ firstSequence, missingCount }) => {
      if (firstSequence + missingCount > newestSequence) subscription.close();
    },
  });
  const silence = setTimeout(() => subscription.close(), SILENCE_MS);
  try {
    for await (const { sequence, payload } of subscription) {
      comparison.add(payload);
      if (sequence % SHOWN_EVERY === 0) show(sequence);
      silence.refresh();
      if (sequence >= newestSequence) break;
    }
  } finally {
    clearTimeout(silence);
  }
  return comparison;
}

/** Reads a Kinesis stream and compares each record with what was sent. */
export async function compareKinesis(
  client: KinesisClient,
  { name, run, journal, show, sinceMs, isShared }: ComparisonOptions & { sinceMs: number; isShared: boolean },
): Promise<MessageComparison> {
  const comparison = new MessageComparison({
    run,
    journal: readFileSync(journal),
    ignoresOtherRuns: isShared,
  });
  let comparedCount = 0;
  await readBack(client, {
    name,
    sinceMs,
    isPaced: isShared,
    onShard: () => comparison.beginPart(),
    onRecord: (payload) => {
      comparison.add(payload);
      if (comparedCount++ % SHOWN_EVERY === 0) show(comparedCount - 1);
    },
  });
  return comparison;
}
