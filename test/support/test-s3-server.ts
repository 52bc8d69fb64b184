import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestCertificate } from "./certificates.ts";
import type { CleanUp } from "./program.ts";
import { endlessBody, TestHttpServer } from "./test-http-server.ts";

/** What tests use of `s3rver`, which has no types. */
interface Rver {
  readonly logger: { readonly exceptions: { unhandle(): void }; close(): void };
  configureBuckets(): Promise<unknown>;
  callback(): (request: IncomingMessage, response: ServerResponse) => void;
}
const S3rver = createRequire(import.meta.url)("s3rver") as new (options: object) => Rver;

export type S3RequestKind =
  "put" | "begin" | "part" | "complete" | "abort" | "list" | "head" | "get" | "other";

/** A request as it arrived. */
export interface S3Request {
  readonly kind: S3RequestKind;
  readonly bucket: string;
  readonly key: string;
  readonly uploadId: string;
  readonly partNumber: number;
  readonly headers: IncomingMessage["headers"];
}

/** What to do with a request; s3rver has it where nothing else is said. */
export type S3Answer =
  | {
      readonly kind: "error";
      readonly status: number;
      /** Missing: a body without an error, as a proxy sends it. */
      readonly code?: string;
      readonly headers?: Record<string, string>;
    }
  /** Lets s3rver have it, and cuts the connection instead of its answer. */
  | { readonly kind: "drop" }
  /** Lets s3rver have it, and keeps its answer. */
  | { readonly kind: "keep" }
  /** Never answers. */
  | { readonly kind: "hang" }
  /** A body that goes on for ever. */
  | { readonly kind: "endless" }
  | undefined;

/**
 * s3rver behind a door that keeps a list of requests, fails those that a test wants to fail, and does what s3rver does not:
 * parts of an upload are listed, uploads are aborted, and an upload that nobody began is not known.
 */
export class TestS3Server {
  readonly requests: S3Request[] = [];
  answer: (request: S3Request) => S3Answer | Promise<S3Answer> = () => undefined;
  readonly http: TestHttpServer;
  readonly #directory: string;
  readonly #rver: Rver;
  readonly #uploads = new Set<string>();
  readonly #waiters = new Set<() => void>();

  private constructor(
    directory: string,
    { buckets, tls }: { buckets: readonly string[]; tls: TestCertificate | undefined },
  ) {
    this.#directory = directory;
    const configureBuckets = buckets.map((name) => ({ name }));
    this.#rver = new S3rver({ directory, silent: true, configureBuckets });
    this.#rver.logger.exceptions.unhandle();
    const serve = this.#rver.callback();
    this.http = new TestHttpServer((request, response) => {
      void this.#serve(request, response, serve);
    }, tls);
  }

  static async start(
    t: CleanUp,
    { buckets = ["bucket"], tls }: { buckets?: readonly string[]; tls?: TestCertificate | undefined } = {},
  ): Promise<TestS3Server> {
    const directory = mkdtempSync(path.join(tmpdir(), "millrace-s3-"));
    const server = new TestS3Server(directory, { buckets, tls });
    await server.#rver.configureBuckets();
    await server.listen();
    t.after(async () => {
      await server.close();
      server.#rver.logger.close();
      rmSync(directory, { recursive: true, force: true });
    });
    return server;
  }

  get port(): number {
    return this.http.port;
  }

  get url(): string {
    return this.http.url;
  }

  /** What an engine is given to send to it. */
  get environment(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_S3: this.url,
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "S3RVER",
      AWS_SECRET_ACCESS_KEY: "S3RVER",
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    };
  }

  /** Kinds of the requests so far, parts with their number. */
  get log(): string[] {
    return this.requests.map(({ kind, partNumber }) => (kind === "part" ? `part ${partNumber}` : kind));
  }

  /** Uploads that were begun and neither completed nor aborted. */
  get openUploadCount(): number {
    return this.#uploads.size;
  }

  /** Numbers of the parts that are stored whole, of all unfinished uploads to a bucket. */
  partsOf(bucket: string): number[] {
    const uploads = path.join(this.#directory, bucket, "._S3rver_uploads");
    return [...this.#uploads].flatMap((uploadId) => wholeParts(path.join(uploads, uploadId)));
  }

  async listen(): Promise<void> {
    await this.http.listen();
  }

  /** Cuts every connection and refuses new ones. */
  async close(): Promise<void> {
    await this.http.close();
  }

  /** Somebody aborted all uploads. */
  forgetUploads(): void {
    this.#uploads.clear();
  }

  /** Resolves when `isMet` holds; looked at with every request that was begun or ended. */
  async until(isMet: () => boolean): Promise<void> {
    while (!isMet()) {
      await new Promise<void>((resolve) => {
        this.#waiters.add(resolve);
      });
    }
  }

  async object(bucket: string, key: string): Promise<{ body: Buffer; headers: Headers } | undefined> {
    const answer = await fetch(`${this.url}/${bucket}/${encodeURI(key)}`);
    const body = Buffer.from(await answer.arrayBuffer());
    return answer.status === 200 ? { body, headers: answer.headers } : undefined;
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    serve: (request: IncomingMessage, response: ServerResponse) => void,
  ): Promise<void> {
    const known = requestOf(request);
    // What a test reads is no request of the engine.
    if (known.kind !== "get") this.requests.push(known);
    this.#wake();
    response.on("close", () => this.#wake());
    const answer = await this.answer(known);
    switch (answer?.kind) {
      case "hang":
        return;
      case "endless":
        response.writeHead(200, { "content-type": "application/xml" });
        endlessBody(response);
        return;
      case "error":
        request.resume();
        sendError(response, answer);
        return;
      case "drop":
        cutInstead(response);
        break;
      case "keep":
        keep(response);
        break;
      case undefined:
        break;
    }
    if (known.uploadId === "" || this.#uploads.has(known.uploadId))
      this.#go(known, { request, response, serve });
    else sendError(response, { status: 404, code: "NoSuchUpload" });
  }

  #go(
    { kind, bucket, uploadId, partNumber }: S3Request,
    {
      request,
      response,
      serve,
    }: {
      request: IncomingMessage;
      response: ServerResponse;
      serve: (request: IncomingMessage, response: ServerResponse) => void;
    },
  ): void {
    const uploads = path.join(this.#directory, bucket, "._S3rver_uploads");
    if (kind === "abort") {
      this.#uploads.delete(uploadId);
      rmSync(path.join(uploads, uploadId), { recursive: true, force: true });
      response.writeHead(204).end();
    } else if (kind === "list") {
      const from = Number(new URL(request.url!, "http://x").searchParams.get("part-number-marker") ?? 0);
      response.setHeader("content-type", "application/xml");
      response.end(partList(path.join(uploads, uploadId), from));
    } else {
      if (kind === "begin") this.#noteBegun(response);
      if (kind === "complete") response.on("finish", () => this.#uploads.delete(uploadId));
      if (kind === "part") assertPart(partNumber);
      serve(request, response);
    }
  }

  #noteBegun(response: ServerResponse): void {
    const end = response.end.bind(response) as (chunk: unknown) => ServerResponse;
    response.end = ((chunk: unknown) => {
      const uploadId = /<UploadId>([^<]+)</.exec(String(chunk))?.[1];
      if (uploadId !== undefined) this.#uploads.add(uploadId);
      return end(chunk);
    }) as typeof response.end;
  }

  #wake(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const resolve of waiters) resolve();
  }
}

function requestOf({ method, url, headers }: IncomingMessage): S3Request {
  const { pathname, searchParams } = new URL(url!, "http://x");
  const [, bucket = "", ...rest] = pathname.split("/").map(decodeURIComponent);
  const uploadId = searchParams.get("uploadId") ?? "";
  const partNumber = Number(searchParams.get("partNumber") ?? 0);
  const kind = kindOf(method!, { uploadId, isBegin: searchParams.has("uploads") });
  return { kind, bucket, key: rest.join("/"), uploadId, partNumber, headers };
}

function kindOf(
  method: string,
  { uploadId, isBegin }: { uploadId: string; isBegin: boolean },
): S3RequestKind {
  const isOfUpload = uploadId !== "";
  switch (method) {
    case "PUT":
      return isOfUpload ? "part" : "put";
    case "POST":
      return isBegin ? "begin" : isOfUpload ? "complete" : "other";
    case "DELETE":
      return isOfUpload ? "abort" : "other";
    case "HEAD":
      return "head";
    case "GET":
      return isOfUpload ? "list" : "get";
    default:
      return "other";
  }
}

function assertPart(partNumber: number): void {
  if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > 10_000) {
    throw new Error(`part ${partNumber}`);
  }
}

/** s3rver writes the digest behind a part that is whole. */
function wholeParts(directory: string): number[] {
  return (existsSync(directory) ? readdirSync(directory) : [])
    .flatMap((name) => /^(\d+)\.md5$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((one, other) => one - other);
}

function partList(directory: string, from: number): string {
  const numbers = wholeParts(directory)
    .filter((number) => number > from)
    .slice(0, 1);
  const parts = numbers.map((number) => {
    const file = path.join(directory, String(number));
    const etag = createHash("md5").update(readFileSync(file)).digest("hex");
    return `<Part><PartNumber>${number}</PartNumber><ETag>"${etag}"</ETag><Size>${statSync(file).size}</Size></Part>`;
  });
  return `<?xml version="1.0"?><ListPartsResult><IsTruncated>false</IsTruncated>${parts.join("")}</ListPartsResult>`;
}

function sendError(
  response: ServerResponse,
  { status, code, headers }: { status: number; code?: string; headers?: Record<string, string> },
): void {
  response.writeHead(status, { "content-type": "application/xml", ...headers });
  response.end(
    code === undefined
      ? "<html>a proxy</html>"
      : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>as the test wants it</Message></Error>`,
  );
}

/** Nothing of the answer goes out. */
function cutInstead(response: ServerResponse): void {
  response.write = () => true;
  response.end = ((): ServerResponse => {
    response.socket?.destroy();
    response.emit("finish");
    return response;
  }) as typeof response.end;
}

function keep(response: ServerResponse): void {
  response.write = () => true;
  response.end = ((): ServerResponse => {
    response.emit("finish");
    return response;
  }) as typeof response.end;
}
