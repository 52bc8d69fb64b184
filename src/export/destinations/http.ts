import { createHash } from "node:crypto";
import type { lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { type AddressRule, isInward, isNamed, parseAddressRule } from "../../core/address-rules.ts";
import { assert } from "../../core/assert.ts";
import { BoundedMap } from "../../core/bounded-map.ts";
import { type Clock, systemClock } from "../../core/clock.ts";
import { textOf } from "../../core/errors.ts";
import {
  EXPORT_CONNECTION_TIMEOUT_MS,
  EXPORT_PROGRESS_MS_MAX,
  EXPORT_REMEMBERED_MAX,
  EXPORT_REQUEST_BYTES_MAX,
  HTTP_BATCH_BYTES_MAX,
  HTTP_BATCH_RECORDS_MAX,
  HTTP_RAW_RECORDS_MAX,
  HTTP_RECORD_OVERHEAD_BYTES,
  MESSAGE_BYTES_MAX_DEFAULT,
} from "../../core/limits.ts";
import { ExportFormat } from "../../core/stream-definition.ts";
import { systemTimers } from "../../core/timers.ts";
import { pathStamp } from "../../net/private-files.ts";
import type { DestinationSettings } from "../exporter-settings.ts";
import type { DestinationEnvironment } from "../worker-settings.ts";
import type {
  Destination,
  DestinationLimits,
  ExportRecord,
  RefusedRecord,
  SendContext,
  SendOutcome,
} from "./destination.ts";
import { judgeAnswer, judgeFailure } from "./http-errors.ts";
import { type HeadersByOrigin, headersFor, readHeadersFile } from "./http-headers.ts";
import { post } from "./http-request.ts";
import { readSendQueues } from "./kernel-send-queue.ts";
import { filteredLookup, outboundAgents, type OutboundAgents } from "./outbound-agents.ts";
import { ProgressWatch } from "./progress-watch.ts";

const recordBytesMax = MESSAGE_BYTES_MAX_DEFAULT + HTTP_RECORD_OVERHEAD_BYTES;

const limitsOf: Record<ExportFormat, DestinationLimits> = {
  [ExportFormat.RAW_NOT_BATCHED]: {
    recordsMax: HTTP_RAW_RECORDS_MAX,
    requestBytesMax: EXPORT_REQUEST_BYTES_MAX,
    recordBytesMax,
    recordOverheadBytes: 0,
  },
  [ExportFormat.JSON_BATCHED]: {
    recordsMax: HTTP_BATCH_RECORDS_MAX,
    requestBytesMax: HTTP_BATCH_BYTES_MAX,
    recordBytesMax,
    recordOverheadBytes: HTTP_RECORD_OVERHEAD_BYTES,
  },
};

const PORT_OF: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

export interface HttpOptions {
  readonly environment: Pick<DestinationEnvironment, "authoritiesPath" | "httpHeadersPath" | "httpInward">;
  readonly clock?: Clock;
  readonly progressMsMax?: number;
  /** The system's, by default. */
  readonly lookup?: typeof systemLookup;
  /** Addresses of this machine; those it has, by default. */
  readonly ownAddresses?: () => readonly string[];
}

/**
 * HTTP: a POST per message, or per batch in JSON. Who may create streams chooses the URL, so it leads nowhere inward that the
 * operator has not named, unencrypted neither; it is checked where the connection is made, behind the look-up of its name.
 */
export class HttpDestination implements Destination {
  readonly #options: HttpOptions;
  readonly #agents: OutboundAgents;
  readonly #rules: readonly AddressRule[];
  readonly #clock: Clock;
  /** By origin: what an answer asked for holds for every exporter and every message of a turn. */
  readonly #pausedUntilMs = new BoundedMap<string, number>(EXPORT_REMEMBERED_MAX);
  readonly #progressMsMax: number;
  readonly #watch: ProgressWatch;
  #headers: { readonly stamp: string | undefined; readonly byOrigin: HeadersByOrigin } | undefined;

  /** @throws {MillraceError} INVALID_SETTING */
  constructor(options: HttpOptions) {
    const { authoritiesPath, httpInward } = options.environment;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#agents = outboundAgents(authoritiesPath);
    this.#progressMsMax = options.progressMsMax ?? EXPORT_PROGRESS_MS_MAX;
    this.#watch = new ProgressWatch({
      agents: [this.#agents.http, this.#agents.https],
      progressMsMax: this.#progressMsMax,
      clock: this.#clock,
      timers: systemTimers,
      readSendQueues,
    });
    this.#rules = httpInward.flatMap((text) => parseAddressRule(text) ?? []);
  }

  limitsFor(settings: DestinationSettings): DestinationLimits {
    assert(settings.kind === "http", `a ${settings.kind} batch cannot go to an HTTP server`);
    return limitsOf[settings.exportFormat];
  }

  async send(
    settings: DestinationSettings,
    records: readonly ExportRecord[],
    context: SendContext,
  ): Promise<SendOutcome> {
    assert(settings.kind === "http", `a ${settings.kind} batch cannot go to an HTTP server`);
    const { uri, exportFormat } = settings;
    const url = URL.canParse(uri) ? new URL(uri) : undefined;
    if (url === undefined || PORT_OF[url.protocol] === undefined) {
      return misconfigured("the uri of the exporter is no http:// or https:// URL");
    }
    if (url.username !== "" || url.password !== "") {
      return misconfigured(
        `the uri to ${url.host} holds a user name or password; they belong into the file of MILLRACE_EXPORT_HTTP_HEADERS`,
      );
    }
    const guard = this.#guardOf(url);
    const literal = url.hostname.replace(/^\[|\]$/g, "");
    if (isIP(literal) !== 0 && !guard.isAllowed(literal)) return misconfigured(guard.reason);
    const postOne = (request: Encoded): Promise<SendOutcome> => this.#post(url, guard, request);
    if (exportFormat === ExportFormat.JSON_BATCHED) return postOne(encodeBatch(records, context));
    return oneByOne(records, (record) => postOne(encodeMessage(record, context)));
  }

  async #post(url: URL, guard: Guard, { body, headers }: Encoded): Promise<SendOutcome> {
    const { origin, host, protocol } = url;
    const pauseMs = (this.#pausedUntilMs.get(origin) ?? 0) - this.#clock.monotonicMs();
    if (pauseMs > 0) return paused(host, pauseMs);
    const requestBytes = body.length;
    try {
      this.#watch.start();
      const answer = await post({
        url,
        options: {
          agent: protocol === "https:" ? this.#agents.https : this.#agents.http,
          lookup: filteredLookup(
            guard.isAllowed,
            () => new InwardAddress(guard.reason),
            this.#options.lookup,
          ),
        },
        headers: { ...headersFor(this.#readHeaders(), origin), ...headers },
        body,
        connectionTimeoutMs: Math.min(EXPORT_CONNECTION_TIMEOUT_MS, this.#progressMsMax),
      });
      const outcome = judgeAnswer(answer, { host, nowMs: this.#clock.nowMs() });
      const retryAfterMs = outcome.kind === "failed" ? outcome.retryAfterMs : undefined;
      if (retryAfterMs === undefined) this.#pausedUntilMs.delete(origin);
      else this.#pausedUntilMs.set(origin, this.#clock.monotonicMs() + retryAfterMs);
      return { ...outcome, requestBytes };
    } catch (error) {
      return error instanceof InwardAddress || error instanceof HeadersUnusable
        ? misconfigured(error.message)
        : { ...judgeFailure(error, host), requestBytes };
    }
  }

  close(): void {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }

  #guardOf({ protocol, hostname, host, port }: URL): Guard {
    const target = { host: hostname, port: port === "" ? PORT_OF[protocol]! : Number(port) };
    const isPlain = protocol === "http:";
    const own = this.#options.ownAddresses?.() ?? machineAddresses();
    return {
      isAllowed: (address) =>
        isNamed(this.#rules, { ...target, address }) || (!isPlain && !isInward(address, own)),
      reason: isPlain
        ? `${host} is not among MILLRACE_EXPORT_HTTP_INWARD, which http:// without TLS needs`
        : `${host} leads to an inward address that is not among MILLRACE_EXPORT_HTTP_INWARD`,
    };
  }

  /** Again when the file has changed. */
  #readHeaders(): HeadersByOrigin {
    const { httpHeadersPath } = this.#options.environment;
    if (httpHeadersPath === undefined) return new Map();
    const stamp = pathStamp(httpHeadersPath);
    if (this.#headers === undefined || this.#headers.stamp !== stamp) {
      try {
        this.#headers = { stamp, byOrigin: readHeadersFile(httpHeadersPath) };
      } catch (cause) {
        throw new HeadersUnusable(textOf(cause), { cause });
      }
    }
    return this.#headers.byOrigin;
  }
}

interface Guard {
  readonly isAllowed: (address: string) => boolean;
  /** Why not. */
  readonly reason: string;
}

class InwardAddress extends Error {}
class HeadersUnusable extends Error {}

/** Only a person can mend it. */
function misconfigured(error: string): SendOutcome {
  return { kind: "failed", scope: "exporter", pace: "slow", timedOut: false, error, requestBytes: 0 };
}

function paused(host: string, retryAfterMs: number): SendOutcome {
  const error = `${host} asked to be left alone for another ${Math.ceil(retryAfterMs / 1000)} s`;
  const untouched = { timedOut: false, requestBytes: 0 };
  return { kind: "failed", scope: "endpoint", pace: "backoff", ...untouched, retryAfterMs, error };
}

/**
 * Messages as requests of their own, in order, judged record by record: a refused one is passed, and behind one that failed
 * nothing is sent.
 */
async function oneByOne(
  records: readonly ExportRecord[],
  postOne: (record: ExportRecord) => Promise<SendOutcome>,
): Promise<SendOutcome> {
  const refused: RefusedRecord[] = [];
  let requestBytes = 0;
  for (const [index, record] of records.entries()) {
    const outcome = await postOne(record);
    requestBytes += outcome.requestBytes ?? 0;
    if (outcome.kind === "refused") {
      refused.push({ index, error: outcome.error });
    } else if (outcome.kind !== "answered") {
      if (index === 0) return outcome;
      const failed = Array.from({ length: records.length - index }, (_, behind) => index + behind);
      const error = outcome.kind === "failed" ? outcome.error : "";
      return { kind: "answered", failed, refused, error, requestBytes };
    }
  }
  const last = refused.at(-1);
  // A request of one message is refused as a whole.
  if (last !== undefined && records.length === 1) return { kind: "refused", error: last.error, requestBytes };
  return { kind: "answered", failed: [], refused, error: last?.error ?? "", requestBytes };
}

function machineAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.map(({ address }) => address),
  );
}

interface Encoded {
  readonly body: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

function encodeMessage(record: ExportRecord, context: SendContext): Encoded {
  return {
    body: record.data,
    headers: {
      "idempotency-key": idempotencyKey([record], context),
      "content-type": "application/octet-stream",
      // Names may begin or end with a blank, which no header keeps.
      "millrace-stream": encodeURIComponent(context.streamName),
      "millrace-sequence-number": String(record.sequence),
      "millrace-ingest-time": String(record.ingestTimeMs),
    },
  };
}

function encodeBatch(records: readonly ExportRecord[], context: SendContext): Encoded {
  const messages = records.map(({ sequence, ingestTimeMs, data }) => ({
    streamName: context.streamName,
    sequenceNumber: sequence,
    ingestTime: ingestTimeMs,
    payload: Buffer.from(data.buffer, data.byteOffset, data.length).toString("base64"),
  }));
  const body = Buffer.from(JSON.stringify(messages));
  const key = idempotencyKey(records, context);
  return { body, headers: { "idempotency-key": key, "content-type": "application/json" } };
}

/** The same for the same messages of a stream, whoever sends them and how often: a message never changes. */
function idempotencyKey(records: readonly ExportRecord[], { streamId }: SendContext): string {
  const first = records[0]!.sequence;
  const last = records.at(-1)!.sequence;
  const range = first === last ? `${streamId}-${first}` : `${streamId}-${first}-${last}`;
  if (last - first + 1 === records.length) return `"${range}"`;
  const sequences = records.map(({ sequence }) => sequence).join(",");
  return `"${range}-${createHash("sha256").update(sequences).digest("hex").slice(0, 16)}"`;
}
