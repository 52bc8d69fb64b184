import assert from "node:assert/strict";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { TestCertificate } from "./certificates.ts";
import { endlessBody, TestHttpServer } from "./test-http-server.ts";

/** One PutRecords as it arrived. `data` are the payloads, decoded. */
export interface PutRequest {
  readonly streamName: string;
  readonly data: readonly string[];
  readonly keys: readonly string[];
  readonly bodyBytes: number;
}

/** What to answer. Nothing of a request counts as stored unless its answer says so. */
export type PutAnswer =
  | { readonly kind: "accept" }
  /** A 200 in which the records at these indexes failed. */
  | { readonly kind: "partial"; readonly failed: readonly number[]; readonly code?: string }
  | { readonly kind: "error"; readonly status: number; readonly type?: string; readonly message?: string }
  /** Stores the records and cuts the connection without an answer. */
  | { readonly kind: "drop" }
  /** Stores the records and never answers. */
  | { readonly kind: "keep" }
  /** Takes the request and never answers. */
  | { readonly kind: "hang" }
  /** A body that goes on for ever. */
  | { readonly kind: "endless" }
  /** Headers, and then a byte now and then. */
  | { readonly kind: "trickle" }
  | { readonly kind: "garbage" };

export type Answerer = (request: PutRequest, index: number) => PutAnswer | Promise<PutAnswer>;

interface FakeKinesisOptions {
  readonly tls?: TestCertificate | undefined;
  /** The URL of an emulator, which then has what is stored, and says whether it takes it. */
  readonly behind?: string | undefined;
}

/** What DescribeStreamSummary tells; everything else in its answer is the same for all streams. */
export interface StreamSummary {
  readonly shards: number;
  readonly recordKib?: number;
}

const acceptAll: Answerer = () => ({ kind: "accept" });

/**
 * Speaks PutRecords of the Kinesis JSON protocol as far as an exporter needs it, and refuses what Kinesis would refuse:
 * missing headers, no SigV4 signature, wrong fields, too many records or bytes. Alone, or before an emulator.
 */
export class FakeKinesisServer {
  readonly requests: PutRequest[] = [];
  /** Payloads in the order in which they were stored, by Kinesis stream. */
  readonly stored = new Map<string, string[]>();
  answer: Answerer = acceptAll;
  /** Whether DescribeStreamSummary is allowed, and what it tells. PutRecords alone is by default. An emulator tells itself. */
  summary: StreamSummary | "denied" | "broken" = "denied";
  /** DescribeStreamSummary requests. */
  summaryCount = 0;
  /** PutRecords requests that wait for their answer, now and at most. */
  underWay = 0;
  underWayMax = 0;
  readonly http: TestHttpServer;
  readonly #behind: string | undefined;
  #waiters: { readonly isMet: () => boolean; readonly resolve: () => void }[] = [];

  private constructor({ tls, behind }: FakeKinesisOptions) {
    this.#behind = behind;
    this.http = new TestHttpServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    }, tls);
  }

  static async start(options: FakeKinesisOptions = {}): Promise<FakeKinesisServer> {
    const server = new FakeKinesisServer(options);
    await server.listen();
    return server;
  }

  get connections(): number {
    return this.http.connections;
  }

  get port(): number {
    return this.http.port;
  }

  get url(): string {
    return this.http.url;
  }

  async listen(): Promise<void> {
    await this.http.listen();
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    await this.http.close();
  }

  storedIn(streamName: string): string[] {
    return this.stored.get(streamName) ?? [];
  }

  /** Resolves after a request once `isMet` holds. */
  until(isMet: () => boolean): Promise<void> {
    if (isMet()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ isMet, resolve }));
  }

  #notify(): void {
    const met = this.#waiters.filter(({ isMet }) => isMet());
    this.#waiters = this.#waiters.filter((waiter) => !met.includes(waiter));
    for (const { resolve } of met) resolve();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    if (request.headers["x-amz-target"] === "Kinesis_20131202.DescribeStreamSummary") {
      this.summaryCount += 1;
      if (this.#behind === undefined) replyWithSummary(response, this.summary, body);
      else relay(response, await this.#askBehind(request.headers, body));
      this.#notify();
      return;
    }
    let put: PutRequest;
    try {
      put = check(request, body, this.summary);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.requests.push({ streamName: `invalid: ${message}`, data: [], keys: [], bodyBytes: body.length });
      sendError(response, { status: 400, type: "SerializationException", message });
      this.#notify();
      return;
    }
    const index = this.requests.push(put) - 1;
    this.underWay += 1;
    this.underWayMax = Math.max(this.underWayMax, this.underWay);
    this.#notify();
    const answer = await this.answer(put, index);
    this.underWay -= 1;
    await this.#reply(put, answer, { request, response, body });
    this.#notify();
  }

  async #reply(
    put: PutRequest,
    answer: PutAnswer,
    { request, response, body }: { request: IncomingMessage; response: ServerResponse; body: Buffer },
  ): Promise<void> {
    switch (answer.kind) {
      case "accept":
      case "partial":
      case "drop":
      case "keep":
        break;
      case "error":
        sendError(response, answer);
        return;
      case "hang":
        return;
      case "endless":
        response.writeHead(200, { "content-type": JSON_TYPE });
        endlessBody(response);
        return;
      case "trickle": {
        response.writeHead(200, { "content-type": JSON_TYPE });
        const timer = setInterval(() => response.write(" "), 20);
        response.on("close", () => clearInterval(timer));
        return;
      }
      case "garbage":
        response.writeHead(200, { "content-type": "text/html" });
        response.end("<html>Log in to the hotel network</html>");
        return;
    }
    const failed = answer.kind === "partial" ? answer.failed : [];
    const taken =
      this.#behind === undefined ? undefined : await this.#askBehind(request.headers, without(body, failed));
    if (taken === undefined || taken.status === 200) this.#store(put, failed);
    if (answer.kind === "drop") request.socket.destroy();
    else if (answer.kind === "keep") return;
    else if (taken !== undefined && (failed.length === 0 || taken.status !== 200)) relay(response, taken);
    else sendResult(response, put, failed, answer.kind === "partial" ? answer.code : undefined);
  }

  #store({ streamName, data }: PutRequest, failed: readonly number[]): void {
    const stored = this.stored.get(streamName) ?? [];
    stored.push(...data.filter((_, index) => !failed.includes(index)));
    this.stored.set(streamName, stored);
  }

  /** What the emulator makes of the request. */
  async #askBehind(headers: IncomingHttpHeaders, body: Buffer): Promise<EmulatorAnswer> {
    const kept = ["content-type", "x-amz-target", "x-amz-date", "authorization"];
    const sent = Object.fromEntries(kept.map((name) => [name, String(headers[name])]));
    const answer = await fetch(this.#behind!, { method: "POST", headers: sent, body });
    return { status: answer.status, body: Buffer.from(await answer.arrayBuffer()) };
  }
}

interface EmulatorAnswer {
  readonly status: number;
  readonly body: Buffer;
}

const JSON_TYPE = "application/x-amz-json-1.1";

function relay(response: ServerResponse, { status, body }: EmulatorAnswer): void {
  response.writeHead(status, { "content-type": JSON_TYPE });
  response.end(body);
}

/** The request without the records at these indexes. */
function without(body: Buffer, failed: readonly number[]): Buffer {
  if (failed.length === 0) return body;
  const request = JSON.parse(body.toString()) as { readonly Records: readonly unknown[] };
  const Records = request.Records.filter((_, index) => !failed.includes(index));
  return Buffer.from(JSON.stringify({ ...request, Records }));
}

function check(request: IncomingMessage, body: Buffer, summary: FakeKinesisServer["summary"]): PutRequest {
  assert.equal(request.method, "POST");
  assert.equal(request.headers["x-amz-target"], "Kinesis_20131202.PutRecords");
  assert.equal(request.headers["content-type"], "application/x-amz-json-1.1");
  assert.match(
    request.headers.authorization ?? "",
    /^AWS4-HMAC-SHA256 Credential=[^ ]+\/kinesis\/aws4_request, /,
  );
  assert.match(request.headers["x-amz-date"]?.toString() ?? "", /^\d{8}T\d{6}Z$/);
  const {
    StreamName: streamName,
    Records: records,
    ...rest
  } = JSON.parse(body.toString()) as {
    StreamName: string;
    Records: { Data: string; PartitionKey: string }[];
  };
  assert.deepEqual(rest, {});
  assert.match(streamName, /^[a-zA-Z0-9_.-]{1,128}$/);
  assert.ok(records.length >= 1 && records.length <= 500, `${records.length} records`);
  const payloads = records.map(({ Data }) => Buffer.from(Data, "base64"));
  const keys = records.map(({ PartitionKey }) => PartitionKey);
  for (const key of keys) assert.match(key, /^.{1,256}$/su);
  const recordKib = (typeof summary === "object" ? summary.recordKib : undefined) ?? 1024;
  let requestBytes = 0;
  for (const [index, payload] of payloads.entries()) {
    const recordBytes = payload.length + Buffer.byteLength(keys[index]!);
    assert.ok(recordBytes <= recordKib * 1024, `record of ${recordBytes} bytes`);
    requestBytes += recordBytes;
  }
  assert.ok(requestBytes <= (recordKib > 1024 ? 10_485_760 : 5_242_880), `request of ${requestBytes} bytes`);
  return { streamName, data: payloads.map((payload) => payload.toString()), keys, bodyBytes: body.length };
}

function replyWithSummary(
  response: ServerResponse,
  summary: FakeKinesisServer["summary"],
  body: Buffer,
): void {
  if (summary === "denied") {
    const message = "not authorized to perform: kinesis:DescribeStreamSummary";
    sendError(response, { status: 400, type: "AccessDeniedException", message });
  } else if (summary === "broken") {
    sendError(response, { status: 500, type: "InternalFailureException" });
  } else {
    const { StreamName } = JSON.parse(body.toString()) as { StreamName: string };
    const StreamDescriptionSummary = {
      StreamName,
      StreamARN: `arn:aws:kinesis:us-east-1:000000000000:stream/${StreamName}`,
      StreamStatus: "ACTIVE",
      RetentionPeriodHours: 24,
      StreamCreationTimestamp: 1,
      EnhancedMonitoring: [],
      OpenShardCount: summary.shards,
      ...(summary.recordKib !== undefined && { MaxRecordSizeInKiB: summary.recordKib }),
    };
    response.writeHead(200, { "content-type": JSON_TYPE });
    response.end(JSON.stringify({ StreamDescriptionSummary }));
  }
}

function sendResult(
  response: ServerResponse,
  put: PutRequest,
  failed: readonly number[],
  code?: string,
): void {
  const failure = { ErrorCode: code ?? "ProvisionedThroughputExceededException", ErrorMessage: "slow down" };
  const records = put.data.map((_, index) =>
    failed.includes(index) ? failure : { SequenceNumber: String(index + 1), ShardId: "shardId-000000000000" },
  );
  const body = JSON.stringify({ FailedRecordCount: failed.length, Records: records });
  response.writeHead(200, { "content-type": JSON_TYPE });
  response.end(body);
}

function sendError(
  response: ServerResponse,
  { status, type, message }: { status: number; type?: string; message?: string },
): void {
  response.writeHead(status, { "content-type": JSON_TYPE });
  response.end(type === undefined ? "" : JSON.stringify({ __type: type, message: message ?? type }));
}
