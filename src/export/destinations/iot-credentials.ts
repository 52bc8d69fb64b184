import { request } from "node:https";
import type { MachineClock } from "../../core/clock.ts";
import { systemCode, textOf } from "../../core/errors.ts";
import {
  IOT_CREDENTIALS_ANSWER_BYTES_MAX,
  IOT_CREDENTIALS_LIFE_MS_MAX,
  IOT_CREDENTIALS_REFRESH_MS,
  IOT_CREDENTIALS_TIMEOUT_MS,
  EXPORT_SLOW_RETRY_MS,
  TLS_FILE_BYTES_MAX,
} from "../../core/limits.ts";
import { readLinkedFile } from "../../net/private-files.ts";
import { readTlsMaterial } from "../../net/tls-files.ts";
import type { IotCredentialSettings } from "../worker-settings.ts";
import { boundPreliminaryAnswers, NoAnswer } from "./preliminary-answers.ts";

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

/** What an AWS client asks before each request. `memoized` tells it not to keep what it got: we do. */
export type AwsCredentialProvider = (() => Promise<AwsCredentials>) & { readonly memoized: true };

interface FetchedCredentials {
  readonly credentials: AwsCredentials;
  /** On the clock that counts sleep too: the wall clock of a device may be wrong, or be set. */
  readonly refreshAtMs: number;
  readonly expiresAtMs: number;
}

/**
 * AWS credentials from the AWS IoT credential provider: a device certificate in exchange for a session of the role that a role
 * alias stands for. Kept until shortly before they expire; used no longer. Certificate, key and authorities are read from
 * their files for each fetch, so that new ones are picked up.
 */
export class IotCredentials {
  /**
   * Rejects with an error whose text names what failed and holds no secrets: a CredentialsProviderError where we are not
   * accepted, or cannot ask, until a person mends that; a CredentialsUnavailableError where the same may succeed later.
   */
  readonly provider: AwsCredentialProvider = Object.assign(() => this.#get(), { memoized: true } as const);
  readonly #settings: IotCredentialSettings;
  readonly #clock: MachineClock;
  #held: FetchedCredentials | undefined;
  #fetch: Promise<AwsCredentials> | undefined;
  #retryAtMs = -Infinity;

  constructor(settings: IotCredentialSettings, { clock }: { readonly clock: MachineClock }) {
    this.#settings = settings;
    this.#clock = clock;
  }

  async #get(): Promise<AwsCredentials> {
    const nowMs = this.#clock.uptimeMs();
    const held = this.#held;
    if (held === undefined || nowMs >= held.expiresAtMs) return this.#refresh();
    if (nowMs >= held.refreshAtMs && nowMs >= this.#retryAtMs) {
      // What is held is good for a while: a provider that is slow, or away, must not stand in the way of an upload.
      this.#refresh().catch(() => undefined);
    }
    return held.credentials;
  }

  #refresh(): Promise<AwsCredentials> {
    return (this.#fetch ??= this.#renew().finally(() => (this.#fetch = undefined)));
  }

  async #renew(): Promise<AwsCredentials> {
    const { endpoint, roleAlias } = this.#settings;
    try {
      this.#held = await this.#ask();
      return this.#held.credentials;
    } catch (thrown) {
      this.#retryAtMs = this.#clock.uptimeMs() + EXPORT_SLOW_RETRY_MS;
      const text = `no credentials for role alias ${roleAlias} from ${endpoint}: ${reasonOf(thrown)}`;
      throw Object.assign(new Error(text), { name: isTemporary(thrown) ? UNAVAILABLE : NOT_ACCEPTED });
    }
  }

  async #ask(): Promise<FetchedCredentials> {
    const { status, date, body } = await get(this.#settings);
    if (status !== 200) throw new ProviderAnswer(`status ${status}${messageIn(body)}`, status);
    const { expirationMs, ...credentials } = parse(body);
    const nowMs = this.#clock.uptimeMs();
    // Of two times by one clock: how long that is does not depend on ours.
    const lifeMs = expirationMs - (Number.isNaN(date) ? this.#clock.nowMs() : date);
    if (lifeMs <= 0) throw new ProviderAnswer("the answer holds credentials that have expired", status);
    const usableMs = Math.min(lifeMs, IOT_CREDENTIALS_LIFE_MS_MAX);
    const refreshAtMs = nowMs + usableMs - Math.min(IOT_CREDENTIALS_REFRESH_MS, usableMs / 2);
    return { credentials, refreshAtMs, expiresAtMs: nowMs + usableMs };
  }
}

interface Answer {
  readonly status: number;
  /** When the answer was made by the clock of the provider; NaN if it does not say. */
  readonly date: number;
  readonly body: string;
}

async function get(settings: IotCredentialSettings): Promise<Answer> {
  const { endpoint, roleAlias, authorities, thingName } = settings;
  const { certificate: cert, key } = readTlsMaterial(settings);
  const ca = authorities === undefined ? undefined : readLinkedFile(authorities, TLS_FILE_BYTES_MAX).bytes;
  const url = new URL(`https://${endpoint}/role-aliases/${encodeURIComponent(roleAlias)}/credentials`);
  const signal = AbortSignal.timeout(IOT_CREDENTIALS_TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      ...{ cert, key, signal },
      ...(ca === undefined ? {} : { ca }),
      // Whatever the environment says of unknown certificates: who answers here decides whom we upload as.
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      agent: false,
      headers: {
        accept: "application/json",
        ...(thingName === undefined ? {} : { "x-amzn-iot-thingname": thingName }),
      },
    });
    let isConnected = false;
    asked.on("socket", (socket) => socket.once("secureConnect", () => (isConnected = true)));
    asked.on("error", (error) => reject(isConnected && isReset(error) ? new CutConnection() : error));
    boundPreliminaryAnswers(asked);
    asked.on("response", (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("error", reject);
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes <= IOT_CREDENTIALS_ANSWER_BYTES_MAX) return;
        const text = `the answer is longer than ${IOT_CREDENTIALS_ANSWER_BYTES_MAX} bytes`;
        response.destroy(new ProviderAnswer(text, response.statusCode ?? 0));
      });
      response.on("end", () => {
        const date = Date.parse(response.headers.date ?? "");
        resolve({ status: response.statusCode ?? 0, date, body: Buffer.concat(chunks).toString() });
      });
    });
    asked.end();
  });
}

/** No text of an answer that may hold credentials is ever quoted. */
function parse(body: string): AwsCredentials & { readonly expirationMs: number } {
  const credentials = fieldsOf(fieldsOf(parseJson(body))["credentials"]);
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = credentials;
  const expirationMs = typeof expiration === "string" ? Date.parse(expiration) : NaN;
  const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
  if (
    !isText(accessKeyId) ||
    !isText(secretAccessKey) ||
    !isText(sessionToken) ||
    Number.isNaN(expirationMs)
  ) {
    const text = "the answer does not hold accessKeyId, secretAccessKey, sessionToken and expiration";
    throw new ProviderAnswer(text, 200);
  }
  return { accessKeyId, secretAccessKey, sessionToken, expirationMs };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

const MESSAGE_LENGTH_MAX = 200;

/** What the provider says of an error: `{"message":"Role alias does not exist"}`. */
function messageIn(body: string): string {
  const { message } = fieldsOf(parseJson(body));
  if (typeof message !== "string") return "";
  return `: ${message.slice(0, MESSAGE_LENGTH_MAX).replace(/[^\x20-\x7e]/g, "?")}`;
}

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Error && thrown.name === "AbortError") {
    return `no answer within ${IOT_CREDENTIALS_TIMEOUT_MS / 1000} s`;
  }
  // A connection that was tried at several addresses fails without a text.
  const text = textOf(thrown);
  return text === "" ? (systemCode(thrown) ?? "the connection failed") : text;
}

/** Named as the SDK names its own, so that nobody needs to know where credentials come from. */
const NOT_ACCEPTED = "CredentialsProviderError";
const UNAVAILABLE = "CredentialsUnavailableError";

/** An answer without credentials. */
class ProviderAnswer extends Error {
  readonly status: number;

  constructor(text: string, status: number) {
    super(text);
    this.status = status;
  }
}

/** Under TLS 1.3 a client learns that its certificate is refused by the end of the connection, or by an alert behind it. */
class CutConnection extends Error {
  constructor() {
    super("the connection was cut without an answer, as it is when the device certificate is not accepted");
  }
}

function isReset(error: unknown): boolean {
  return systemCode(error) === "ECONNRESET";
}

/** Of the way to the provider, or of a machine that is short of something. */
const temporaryCodes = new Set([
  ...["EAI_AGAIN", "ENOTFOUND", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT"],
  ...["EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "EADDRNOTAVAIL"],
  ...["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EAGAIN", "EIO"],
]);

/** Whether the same may succeed later. What is wrong with a file, a certificate or a right only a person mends. */
function isTemporary(thrown: unknown): boolean {
  if (thrown instanceof ProviderAnswer) return !isRefusal(thrown.status);
  if (thrown instanceof NoAnswer || (thrown instanceof Error && thrown.name === "AbortError")) return true;
  const code = thrown instanceof AggregateError ? systemCode(thrown.errors[0]) : systemCode(thrown);
  return code !== undefined && temporaryCodes.has(code);
}

/** 408 and 429 are no refusals; an answer that is none, such as the page of a hotel, or 5xx, is none either. */
function isRefusal(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}
