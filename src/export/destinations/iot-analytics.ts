import type { BatchPutMessageCommand, IoTAnalyticsClient } from "@aws-sdk/client-iotanalytics";
import { assert } from "../../core/assert.ts";
import { ANALYTICS_ENDED } from "../../core/export-map.ts";
import {
  IOT_ANALYTICS_MESSAGE_BYTES_MAX,
  IOT_ANALYTICS_MESSAGE_ID_LENGTH_MAX,
  IOT_ANALYTICS_MESSAGES_MAX,
  IOT_ANALYTICS_REQUEST_BYTES_MAX,
} from "../../core/service-limits.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import { classifyAwsError } from "./aws-errors.ts";
import { BODY_COUNT_STEP, BodyCount } from "./body-count.ts";
import { type EntryError, judgeEntries, outcomeOfEntries } from "./entry-errors.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  SendContext,
  SendOutcome,
} from "./destination.ts";

const limits: DestinationLimits = {
  recordsMax: IOT_ANALYTICS_MESSAGES_MAX,
  requestBytesMax: IOT_ANALYTICS_REQUEST_BYTES_MAX,
  recordBytesMax: IOT_ANALYTICS_MESSAGE_BYTES_MAX,
  recordOverheadBytes: 0,
};

export interface IotAnalyticsOptions {
  readonly environment?: DestinationEnvironment;
  readonly progressMsMax?: number;
}

/**
 * AWS IoT Analytics, which AWS ended on 2025-12-15: one BatchPutMessage per batch, the payload unchanged. For what speaks its
 * API still, and for those who find a definition with such an exporter. Region and endpoint come from the SDK's own
 * chain and variables, credentials as aws-client-settings.ts says.
 */
export class IotAnalyticsDestination implements Destination {
  readonly #client: IoTAnalyticsClient;
  readonly #batchPutMessage: typeof BatchPutMessageCommand;

  private constructor(client: IoTAnalyticsClient, batchPutMessage: typeof BatchPutMessageCommand) {
    this.#client = client;
    this.#batchPutMessage = batchPutMessage;
  }

  /** Imports the SDK now and not before. */
  static async load(options: IotAnalyticsOptions): Promise<IotAnalyticsDestination> {
    const { IoTAnalyticsClient, BatchPutMessageCommand } = await import("@aws-sdk/client-iotanalytics");
    const { awsClientSettings } = await import("./aws-client-settings.ts");
    return new IotAnalyticsDestination(
      new IoTAnalyticsClient(awsClientSettings(options)),
      BatchPutMessageCommand,
    );
  }

  limitsFor(): DestinationLimits {
    return limits;
  }

  async send(
    settings: DestinationSettings,
    records: readonly ExportRecord[],
    context: SendContext,
  ): Promise<SendOutcome> {
    assert(settings.kind === "iotAnalytics", `a ${settings.kind} batch cannot go to IoT Analytics`);
    const { iotChannel, iotMsgIdPrefix } = settings;
    const ids = records.map(({ sequence }) => messageIdOf(iotMsgIdPrefix, context.streamId, sequence));
    const command = new this.#batchPutMessage({
      channelName: iotChannel,
      messages: records.map(({ data }, index) => ({ messageId: ids[index], payload: data })),
    });
    const sent = new BodyCount();
    command.middlewareStack.add(sent.middleware, BODY_COUNT_STEP);
    try {
      const { batchPutMessageErrorEntries: errors } = await this.#client.send(command);
      return { ...judge(ids, errors), requestBytes: sent.bytes };
    } catch (error) {
      const missing = `export channel ${iotChannel} doesn't exist`;
      const failure = classifyAwsError(error, { service: "IoT Analytics", missing });
      // Whoever reads of failures without end should learn why there is none.
      return {
        ...failure,
        ...(failure.kind === "failed" && { error: `${failure.error} (${ANALYTICS_ENDED})` }),
        requestBytes: sent.bytes,
      };
    }
  }

  close(): void {
    this.#client.destroy();
  }
}

/**
 * The same for a message whenever it is sent, so that whoever keeps messages by their id keeps one. ASCII, as the API wants it:
 * of a prefix the rest becomes `_`.
 */
export function messageIdOf(prefix: string, streamId: string, sequence: number): string {
  const id = `${prefix.replace(/[^\x20-\x7e]/gu, "_")}${streamId}-${sequence}`;
  assert(id.length <= IOT_ANALYTICS_MESSAGE_ID_LENGTH_MAX, `message id ${id} is too long`);
  return id;
}

interface MessageError {
  readonly messageId?: string | undefined;
  readonly errorCode?: string | undefined;
  readonly errorMessage?: string | undefined;
}

function judge(ids: readonly string[], errors: readonly MessageError[] | undefined): SendOutcome {
  // Even where no message failed the service gives a list: what gives none is something else in its place.
  if (errors === undefined) {
    const error = "BatchPutMessage was answered without batchPutMessageErrorEntries";
    return { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error };
  }
  const indexes = new Map(ids.map((id, index) => [id, index]));
  const byIndex = new Map<number, EntryError[]>();
  for (const { messageId = "", errorCode = "", errorMessage = "" } of errors) {
    const index = indexes.get(messageId);
    if (index === undefined) {
      const error = `BatchPutMessage answered for message "${messageId}", which was not sent: ${errorCode} ${errorMessage}`;
      return { kind: "failed", scope: "endpoint", pace: "backoff", timedOut: false, error };
    }
    byIndex.set(index, [...(byIndex.get(index) ?? []), { code: errorCode, message: errorMessage }]);
  }
  return outcomeOfEntries(ids.length, judgeEntries(byIndex));
}
