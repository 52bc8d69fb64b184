import { StatusLevel } from "../../core/stream-definition.ts";
import type { StreamNotice } from "./destination.ts";
import type { S3Task } from "./s3-task.ts";

/** PROTOCOL 3.1. */
export const S3Status = { Success: 0, Failure: 1, InProgress: 2, Warning: 3, Canceled: 4 } as const;
export type S3Status = (typeof S3Status)[keyof typeof S3Status];

const EVENT_S3_TASK = 0;

/** From which level on somebody wants to hear of it. */
const levelOf: Readonly<Record<S3Status, StatusLevel>> = {
  [S3Status.Failure]: StatusLevel.ERROR,
  [S3Status.Canceled]: StatusLevel.WARN,
  [S3Status.Warning]: StatusLevel.WARN,
  [S3Status.Success]: StatusLevel.INFO,
  [S3Status.InProgress]: StatusLevel.INFO,
};

/** Who wants to hear of the tasks of an exporter, and whose they are. */
export interface StatusAudience {
  readonly statusLevel: StatusLevel;
  /** Undefined where nobody does. */
  readonly statusStreamName: string | undefined;
  readonly identifier: string;
  readonly streamName: string;
}

/** Whether somebody wants to hear of it. */
export function isWanted(
  status: S3Status,
  { statusLevel, statusStreamName }: Pick<StatusAudience, "statusLevel" | "statusStreamName">,
): boolean {
  return statusStreamName !== undefined && levelOf[status] <= statusLevel;
}

/** A StatusMessage (PROTOCOL 3.7) as a notice; none where the level leaves it out. What is not known is left out of it. */
export function statusNotices(
  audience: StatusAudience,
  told: {
    readonly status: S3Status;
    readonly text: string;
    readonly sequence: number;
    /** Undefined for a message that is no task. */
    readonly task: S3Task | undefined;
    readonly timeMs: number;
  },
): StreamNotice[] {
  const { status, text, sequence, task, timeMs } = told;
  const { statusStreamName, identifier, streamName } = audience;
  if (statusStreamName === undefined || !isWanted(status, audience)) return [];
  const message = {
    eventType: EVENT_S3_TASK,
    statusLevel: levelOf[status],
    status,
    statusContext: {
      ...(task === undefined ? {} : { s3ExportTaskDefinition: task }),
      exportIdentifier: identifier,
      streamName,
      sequenceNumber: sequence,
    },
    message: text,
    timestampEpochMs: timeMs,
  };
  return [{ streamName: statusStreamName, payload: JSON.stringify(message) }];
}
