import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

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
  /** Takes the request and never answers. */
  | { readonly kind: "hang" }
  /** A body that goes on for ever. */
  | { readonly kind: "endless" }
  /** Headers, and then a byte now and then. */
  | { readonly kind: "trickle" }
  | { readonly kind: "garbage" };

export type Answerer = (request: PutRequest, index: number) => PutAnswer | Promise<PutAnswer>;

/** What DescribeStreamSummary tells; everything else in its answer is the same for all streams. */
export interface StreamSummary {
  readonly shards: number;
  readonly recordKib?: number;
}

const acceptAll: Answerer = () => ({ kind: "accept" });

/**
 * Speaks PutRecords of the Kinesis JSON protocol as far as an exporter needs it, and refuses what Kinesis would refuse:
 * missing headers, no SigV4 signature, wrong fields, too many records or bytes.
 */
export class FakeKinesisServer {
  readonly requests: PutRequest[] = [];
  /** Payloads in the order in which they were stored, by Kinesis stream. */
  readonly stored = new Map<string, string[]>();
  connections = 0;
  answer: Answerer = acceptAll;
  /** Whether DescribeStreamSummary is allowed, and what it tells. PutRecords alone is by default. */
  summary: StreamSummary | "denied" | "broken" = "denied";
  /** DescribeStreamSummary requests. */
  summaryCount = 0;
  /** PutRecords requests that wait for their answer, now and at most. */
  underWay = 0;
  underWayMax = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #waiters: { readonly isMet: () => boolean; readonly resolve: () => void }[] = [];
  #port = 0;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on("connection", (socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    });
  }

  static async start(port = 0): Promise<FakeKinesisServer> {
    const server = new FakeKinesisServer();
    await server.listen(port);
    return server;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async listen(port = this.#port): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen(port, "127.0.0.1", resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
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
      replyWithSummary(response, this.summary, body);
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
    this.#reply(put, answer, request, response);
    this.#notify();
  }

  #reply(put: PutRequest, answer: PutAnswer, request: IncomingMessage, response: ServerResponse): void {
    switch (answer.kind) {
      case "accept":
        this.#store(put, []);
        sendResult(response, put, []);
        return;
      case "partial":
        this.#store(put, answer.failed);
        sendResult(response, put, answer.failed, answer.code);
        return;
      case "error":
        sendError(response, answer);
        return;
      case "drop":
        this.#store(put, []);
        request.socket.destroy();
        return;
      case "hang":
        return;
      case "endless": {
        response.writeHead(200, { "content-type": "application/x-amz-json-1.1" });
        const chunk = Buffer.alloc(65_536, " ");
        const more = (): void => {
          while (!response.destroyed && response.write(chunk));
        };
        response.on("drain", more);
        more();
        return;
      }
      case "trickle": {
        response.writeHead(200, { "content-type": "application/x-amz-json-1.1" });
        const timer = setInterval(() => response.write(" "), 20);
        response.on("close", () => clearInterval(timer));
        return;
      }
      case "garbage":
        response.writeHead(200, { "content-type": "text/html" });
        response.end("<html>Log in to the hotel network</html>");
        return;
    }
  }

  #store({ streamName, data }: PutRequest, failed: readonly number[]): void {
    const stored = this.stored.get(streamName) ?? [];
    stored.push(...data.filter((_, index) => !failed.includes(index)));
    this.stored.set(streamName, stored);
  }
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
    response.writeHead(200, { "content-type": "application/x-amz-json-1.1" });
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
  response.writeHead(200, { "content-type": "application/x-amz-json-1.1" });
  response.end(body);
}

function sendError(
  response: ServerResponse,
  { status, type, message }: { status: number; type?: string; message?: string },
): void {
  response.writeHead(status, { "content-type": "application/x-amz-json-1.1" });
  response.end(type === undefined ? "" : JSON.stringify({ __type: type, message: message ?? type }));
}
