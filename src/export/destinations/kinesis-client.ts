import type {
  DescribeStreamSummaryCommand,
  KinesisClient,
  PutRecordsCommand,
  PutRecordsCommandInput,
  PutRecordsCommandOutput,
} from "@aws-sdk/client-kinesis";
import type { KinesisFacts } from "./kinesis-stream.ts";
import { factsOf } from "./kinesis-stream.ts";
import { classifyKinesisError } from "./kinesis-errors.ts";
import { putRecordsResults, type PutRecordsResult } from "./put-records-body.ts";
import { awsClientSettings } from "./aws-client-settings.ts";

type ClientSettings = Parameters<typeof awsClientSettings>[0];

interface StepArguments {
  readonly input: PutRecordsCommandInput;
  readonly request: unknown;
}

/** What a middleware calls to have the steps behind it done. */
type Handler = (args: StepArguments) => Promise<{ response: unknown; output?: PutRecordsCommandOutput }>;

interface Response {
  readonly statusCode: number;
  body?: unknown;
}

/**
 * The SDK's client: it resolves the endpoint, finds credentials, signs, sends, and judges errors. Only the body of PutRecords
 * is ours on the way out, and the records of its answer on the way in: both of these steps of the SDK walk its schema for
 * each field of each record.
 */
export class PutRecordsClient {
  readonly #client: KinesisClient;
  readonly #putRecords: typeof PutRecordsCommand;
  readonly #describe: typeof DescribeStreamSummaryCommand;

  private constructor(
    client: KinesisClient,
    commands: { putRecords: typeof PutRecordsCommand; describe: typeof DescribeStreamSummaryCommand },
  ) {
    this.#client = client;
    this.#putRecords = commands.putRecords;
    this.#describe = commands.describe;
  }

  /** Imports the SDK: 21 MiB and 140 ms, so only when the first batch is to be sent, and never on the main thread. */
  static async load(settings: ClientSettings): Promise<PutRecordsClient> {
    const sdk = await import("@aws-sdk/client-kinesis");
    const client = new sdk.KinesisClient(awsClientSettings(settings));
    return new PutRecordsClient(client, {
      putRecords: sdk.PutRecordsCommand,
      describe: sdk.DescribeStreamSummaryCommand,
    });
  }

  /** Sends a body as putRecordsBody makes it. @throws what the SDK throws, and a SyntaxError for an answer that is no JSON */
  async put(kinesisStreamName: string, body: Buffer): Promise<readonly PutRecordsResult[]> {
    let results: readonly PutRecordsResult[] = [];
    const command = new this.#putRecords({ StreamName: kinesisStreamName, Records: [] });
    command.middlewareStack.addRelativeTo(
      (next: Handler) => async (args: StepArguments) => {
        (args.request as { body: unknown }).body = body;
        return next(args);
      },
      // Before length and signature.
      { name: "millraceBody", relation: "after", toMiddleware: "serializerMiddleware" },
    );
    command.middlewareStack.addRelativeTo(
      (next: Handler) => async (args: StepArguments) => {
        const answer = await next(args);
        const response = answer.response as Response;
        if (response.statusCode >= 300) return answer;
        results = putRecordsResults(await collect(response.body as AsyncIterable<Uint8Array>));
        response.body = new Uint8Array();
        return answer;
      },
      { name: "millraceAnswer", relation: "after", toMiddleware: "deserializerMiddleware" },
    );
    await this.#client.send(command);
    return results;
  }

  /** @returns "denied" where this is not allowed, undefined where it failed otherwise */
  async describe(kinesisStreamName: string): Promise<KinesisFacts | "denied" | undefined> {
    try {
      const answer = await this.#client.send(new this.#describe({ StreamName: kinesisStreamName }));
      return factsOf(answer.StreamDescriptionSummary ?? {});
    } catch (error) {
      const outcome = classifyKinesisError(error, kinesisStreamName);
      const isDenied = outcome.kind === "failed" && outcome.scope === "exporter" && outcome.pace === "slow";
      return isDenied ? "denied" : undefined;
    }
  }

  close(): void {
    this.#client.destroy();
  }
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}
