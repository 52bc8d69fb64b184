import { classifyAwsError } from "./aws-errors.ts";
import type { SendOutcome } from "./destination.ts";

/** What a failed PutRecords means for the exporter. */
export function classifyKinesisError(thrown: unknown, kinesisStreamName: string): SendOutcome {
  return classifyAwsError(thrown, {
    service: "Kinesis",
    missing: `export stream ${kinesisStreamName} doesn't exist`,
  });
}
