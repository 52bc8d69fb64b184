// Answers every PutRecords with success, in a process of its own: `node kinesis-endpoint.js`. `GET /records/N` is answered once N came.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Each record has one; JSON escapes the quotes of a payload or a key that would hold the same. */
const RECORD_MARK = Buffer.from('"PartitionKey":');
const CONTENT_TYPE = "application/x-amz-json-1.1";

/** What `GET /records/N` tells. */
export interface EndpointCounts {
  readonly records: number;
  readonly requests: number;
  /** What was not a signed PutRecords. */
  readonly refused: number;
}

const counts = { records: 0, requests: 0, refused: 0 };
let waiters: { readonly records: number; readonly tell: () => void }[] = [];
const answers = new Map<number, Buffer>();

const server = createServer((request, response) => void serve(request, response));

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method === "GET") {
    waitFor(Number(/^\/records\/(\d+)$/.exec(request.url ?? "")?.[1]), response);
    return;
  }
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const records = countMarks(Buffer.concat(chunks));
  const isSigned = request.headers.authorization?.startsWith("AWS4-HMAC-SHA256 ") === true;
  if (!isSigned || request.headers["x-amz-target"] !== "Kinesis_20131202.PutRecords" || records === 0) {
    counts.refused += 1;
    response.writeHead(400, { "content-type": CONTENT_TYPE });
    response.end('{"__type":"SerializationException"}');
    return;
  }
  counts.requests += 1;
  counts.records += records;
  const answer = answerFor(records);
  response.writeHead(200, { "content-type": CONTENT_TYPE, "content-length": answer.length });
  response.end(answer);
  tellWaiters();
}

function countMarks(body: Buffer): number {
  let count = 0;
  for (let at = body.indexOf(RECORD_MARK); at >= 0; at = body.indexOf(RECORD_MARK, at + RECORD_MARK.length))
    count += 1;
  return count;
}

/** As long as a real one: a sequence number of 56 digits for each record. */
function answerFor(records: number): Buffer {
  let answer = answers.get(records);
  if (answer === undefined) {
    const Records = Array.from({ length: records }, (_, index) => ({
      SequenceNumber: String(index).padStart(56, "4"),
      ShardId: "shardId-000000000000",
    }));
    answer = Buffer.from(JSON.stringify({ FailedRecordCount: 0, Records }));
    answers.set(records, answer);
  }
  return answer;
}

function waitFor(records: number, response: ServerResponse): void {
  if (!Number.isSafeInteger(records)) {
    response.writeHead(404).end();
    return;
  }
  const tell = (): void => {
    response.end(JSON.stringify(counts satisfies EndpointCounts));
  };
  waiters.push({ records, tell });
  tellWaiters();
}

function tellWaiters(): void {
  const met = waiters.filter(({ records }) => counts.records >= records);
  if (met.length === 0) return;
  waiters = waiters.filter((waiter) => !met.includes(waiter));
  for (const { tell } of met) tell();
}

server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port, address } = server.address() as AddressInfo;
process.stdout.write(`${JSON.stringify({ event: "ready", host: address, port })}\n`);
process.once("SIGTERM", () => process.exit(0));
