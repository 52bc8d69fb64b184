import { assert } from "../../core/assert.ts";
import { BoundedMap } from "../../core/bounded-map.ts";
import type { Clock } from "../../core/clock.ts";
import { EXPORT_REMEMBERED_MAX } from "../../core/limits.ts";
import type { Storage } from "../../log/storage.ts";
import { StatusLevel } from "../../core/stream-definition.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import type {
  CancelOutcome,
  Destination,
  DestinationLimits,
  ExportRecord,
  SendContext,
  SendOutcome,
} from "./destination.ts";
import { S3Api } from "./s3-api.ts";
import { readUpload } from "./s3-upload.ts";
import { S3TaskStep } from "./s3-task-step.ts";

/** A message of any size is read: one that is too large for a task is one that fails. */
const limits: DestinationLimits = {
  recordsMax: 1,
  requestBytesMax: Number.MAX_SAFE_INTEGER,
  recordBytesMax: Number.MAX_SAFE_INTEGER,
  recordOverheadBytes: 0,
};

export interface S3Options {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly storeDirectory: string;
  readonly environment: DestinationEnvironment;
}

/**
 * S3 export tasks (PROTOCOL 3.7, 6.6): each message names a local file and the object that it becomes. A request to S3 is a
 * step, so that others get their turn in between; a part of a file is the most that one takes.
 */
export class S3Destination implements Destination {
  readonly #api: S3Api;
  readonly #options: S3Options;
  readonly #known = new BoundedMap<string, true>(EXPORT_REMEMBERED_MAX);

  private constructor(api: S3Api, options: S3Options) {
    this.#api = api;
    this.#options = options;
  }

  /** @throws {MillraceError} INVALID_REQUEST when the SDK is not installed */
  static async load(options: S3Options): Promise<S3Destination> {
    return new S3Destination(await S3Api.load(options.environment), options);
  }

  limitsFor(): DestinationLimits {
    return limits;
  }

  async send(
    settings: DestinationSettings,
    records: readonly ExportRecord[],
    context: SendContext,
  ): Promise<SendOutcome> {
    const [record, another] = records;
    assert(record !== undefined && another === undefined, "one task at a time");
    return this.#step(settings, context).run(record);
  }

  async cancel(
    settings: DestinationSettings | undefined,
    context: SendContext,
    reason: string,
  ): Promise<CancelOutcome> {
    const stored = readUpload(this.#options.storage, context);
    if (stored === undefined || stored.final !== undefined) return { notices: [], isEnded: true };
    if (settings !== undefined) return this.#step(settings, context).cancel(stored, reason);
    // Of a version that kept no audience: nobody is told.
    const { identifier, ...status } = stored.audience ?? { identifier: "", statusLevel: StatusLevel.ERROR };
    const left = { kind: "s3TaskExecutor", multipartThresholdBytes: 0, statusStreamName: undefined } as const;
    return this.#step({ ...left, ...status }, { ...context, identifier }).cancel(stored, reason);
  }

  close(): void {
    this.#api.close();
  }

  #step(settings: DestinationSettings, context: SendContext): S3TaskStep {
    assert(settings.kind === "s3TaskExecutor", `a ${settings.kind} batch cannot go to S3`);
    const { storage, clock, storeDirectory, environment } = this.#options;
    return new S3TaskStep({
      api: this.#api,
      storage,
      clock,
      policy: { directories: environment.readOnlyDirectories, storeDirectory },
      partBytesMin: environment.s3PartBytesMin,
      known: this.#known,
      settings,
      context,
    });
  }
}
