import { asMillraceError, MillraceError } from "../core/errors.ts";
import { CLIENT_CONNECT_TIMEOUT_MS, CLIENT_REQUEST_TIMEOUT_MS } from "../core/limits.ts";
import type { ExportCommandResult, RedriveResult } from "../core/export-command.ts";
import type { Message, MessageStreamInfo, ReadMessagesOptions } from "../core/stream-definition.ts";
import type { StreamDescription } from "../core/stream-description.ts";
import type { StreamOptionsChange } from "../core/stream-options.ts";
import { decodeAppendMessageResponse, encodeAppendMessage } from "../wire/append-message.ts";
import {
  decodeCreateMessageStreamResponse,
  encodeCreateMessageStream,
} from "../wire/create-message-stream.ts";
import {
  decodeDeleteMessageStreamResponse,
  encodeDeleteMessageStream,
} from "../wire/delete-message-stream.ts";
import {
  decodeDescribeMessageStreamResponse,
  encodeDescribeMessageStream,
} from "../wire/describe-message-stream.ts";
import { decodeListStreamsResponse, encodeListStreams } from "../wire/list-streams.ts";
import type { OpenStreamResult } from "../wire/open-stream-layout.ts";
import { Operation } from "../wire/operation.ts";
import {
  checkReadMessagesOptions,
  decodeReadMessagesResponse,
  encodeReadMessages,
} from "../wire/read-messages.ts";
import type { Reply } from "../wire/reply.ts";
import type { StreamDefinitionInput } from "../wire/stream-definition-codec.ts";
import { checkStreamDefinition, checkUpdatedDefinition } from "../wire/stream-definition-codec.ts";
import {
  decodeUpdateMessageStreamResponse,
  encodeUpdateMessageStream,
} from "../wire/update-message-stream.ts";
import { backoffMs } from "./backoff.ts";
import { loadPacker } from "./batch-packer.ts";
import type { ClientOptions } from "./client-options.ts";
import { type Call, Connection } from "./connection.ts";
import { endpointUrl } from "./endpoint-url.ts";
import type { Environment } from "./environment.ts";
import { exportCommand, pauseChange } from "./export-commands.ts";
import type { ProducerLink } from "./producer-link.ts";
import type { ProducerOptions } from "./producer-options.ts";
import { Producer } from "./producer.ts";
import type { SubscribeOptions, SubscriptionLink } from "./subscription.ts";
import { Subscription } from "./subscription.ts";
import { systemEnvironment } from "./system-environment.ts";

const URL_DEFAULT = "ws://127.0.0.1:8088";
/** Beyond its own waiting time a read gets this much for the way. */
const READ_MARGIN_MS = 5000;

/** What lives as long as the client and outlives a connection. */
interface Dependent {
  onConnected(): void;
  onDisconnected(): void;
  onClosed(error: MillraceError): void;
}

interface WaitingCall {
  resolve(connection: Connection): void;
  reject(error: Error): void;
}

/**
 * A client of one engine over one WebSocket, which is made again, with backoff, whenever it breaks. Calls that were waiting for
 * an answer then fail with CONNECTION_CLOSED: their outcome is unknown. Calls made meanwhile wait for the next connection.
 * Producers and subscriptions go on by themselves.
 */
export class MillraceClient {
  readonly #environment: Environment;
  readonly #options: ClientOptions;
  #connection: Connection | undefined;
  readonly #dependents = new Set<Dependent>();
  /** Calls that wait for a connection. */
  #waiting: WaitingCall[] = [];
  #attempt = 0;
  #cancelReconnect: (() => void) | undefined;
  #closeError: MillraceError | undefined;
  #reconnects = 0;

  private constructor(options: ClientOptions, environment: Environment) {
    this.#options = options;
    this.#environment = environment;
  }

  /**
   * Connects. Only this first connection is tried once: an engine that is not there is an answer.
   * @throws {MillraceError} CONNECT_FAILED, UNAUTHORIZED, UNSUPPORTED_PROTOCOL
   */
  static async connect(
    options: ClientOptions = {},
    environment = systemEnvironment,
  ): Promise<MillraceClient> {
    const client = new MillraceClient(options, environment);
    await client.#connect();
    return client;
  }

  /** Connections made after the first. */
  get reconnects(): number {
    return this.#reconnects;
  }

  /**
   * Makes a stream, with Millrace's own options from the first moment where there are any.
   * @throws {MillraceError} INVALID_REQUEST also when the stream exists
   */
  async createMessageStream(definition: StreamDefinitionInput, options?: StreamOptionsChange): Promise<void> {
    const checked = checkStreamDefinition(definition);
    if (options !== undefined) {
      const { name } = checked;
      const document = JSON.stringify({ definition: checked, options });
      const connection = await this.#ready();
      await connection.askDocument(Operation.CreateStream, { name, document });
      return;
    }
    await this.#call({
      encode: (requestId) => encodeCreateMessageStream({ requestId, definition: checked }),
      decode: decodeCreateMessageStreamResponse,
      replyOperation: Operation.CreateMessageStreamResponse,
    });
  }

  /**
   * Replaces the whole definition: what is left out goes back to its default. With it, in one step, those of Millrace's own
   * options that are named.
   */
  async updateMessageStream(definition: StreamDefinitionInput, options?: StreamOptionsChange): Promise<void> {
    const checked = checkUpdatedDefinition(definition);
    if (options !== undefined) {
      await this.#configure(checked.name, { definition: checked, options });
      return;
    }
    await this.#call({
      encode: (requestId) => encodeUpdateMessageStream({ requestId, definition: checked }),
      decode: decodeUpdateMessageStreamResponse,
      replyOperation: Operation.UpdateMessageStreamResponse,
    });
  }

  async deleteMessageStream(name: string): Promise<void> {
    await this.#call({
      encode: (requestId) => encodeDeleteMessageStream({ requestId, name }),
      decode: decodeDeleteMessageStreamResponse,
      replyOperation: Operation.DeleteMessageStreamResponse,
    });
  }

  /** @returns the message's sequence number. For many messages use a producer. */
  async appendMessage(streamName: string, payload: Uint8Array): Promise<number> {
    const { sequenceNumber } = await this.#call({
      encode: (requestId) => encodeAppendMessage({ requestId, name: streamName, payload }),
      decode: decodeAppendMessageResponse,
      replyOperation: Operation.AppendMessageResponse,
    });
    return present(sequenceNumber, "sequenceNumber");
  }

  /** Payloads are views of one received buffer. @throws {MillraceError} NOT_ENOUGH_MESSAGES */
  async readMessages(streamName: string, options?: ReadMessagesOptions): Promise<readonly Message[]> {
    const { readTimeoutMillis } = checkReadMessagesOptions(options ?? {});
    const { messages } = await this.#call({
      encode: (requestId) => encodeReadMessages({ requestId, streamName, ...(options && { options }) }),
      decode: decodeReadMessagesResponse,
      replyOperation: Operation.ReadMessagesResponse,
      timeoutMs: Math.max(CLIENT_REQUEST_TIMEOUT_MS, readTimeoutMillis + READ_MARGIN_MS),
    });
    return present(messages, "messages");
  }

  async listStreams(): Promise<readonly string[]> {
    const { streams } = await this.#call({
      encode: (requestId) => encodeListStreams({ requestId }),
      decode: decodeListStreamsResponse,
      replyOperation: Operation.ListStreamsResponse,
    });
    return present(streams, "streams");
  }

  async describeMessageStream(name: string): Promise<MessageStreamInfo> {
    const { messageStreamInfo } = await this.#call({
      encode: (requestId) => encodeDescribeMessageStream({ requestId, name }),
      decode: decodeDescribeMessageStreamResponse,
      replyOperation: Operation.DescribeMessageStreamResponse,
    });
    return present(messageStreamInfo, "messageStreamInfo");
  }

  /** All that is known of a stream: what `describeMessageStream` tells, options, ledger, and the account of each exporter. */
  async describeStream(name: string): Promise<StreamDescription> {
    const connection = await this.#ready();
    const document = await connection.askDocument(Operation.DescribeStream, { name, document: "" });
    return parseAnswer<StreamDescription>(document);
  }

  /** Changes Millrace's own options of a stream; those that are not named stay. Resolves when the change is durable. */
  async configureStream(name: string, options: StreamOptionsChange): Promise<void> {
    await this.#configure(name, { options });
  }

  /**
   * Pauses the exporters of a stream, or the one of that identifier, until they are resumed, restarts or not. What is on its way
   * is sent. Resolves when it is durable. @returns whom @throws {MillraceError} INVALID_REQUEST where there is none
   */
  async pauseExports(stream: string, exporter?: string): Promise<readonly string[]> {
    return this.#pause(stream, exporter, true);
  }

  /** Lets paused exporters go on where they were; otherwise as `pauseExports`. */
  async resumeExports(stream: string, exporter?: string): Promise<readonly string[]> {
    return this.#pause(stream, exporter, false);
  }

  async #pause(stream: string, exporter: string | undefined, paused: boolean): Promise<readonly string[]> {
    const present = await this.describeStream(stream);
    const { identifiers, change } = pauseChange(present, { exporter, paused });
    await this.configureStream(stream, change);
    return identifiers;
  }

  /**
   * Has what failed be tried at once, instead of at the end of its delay, by all exporters of the stream that may send, or by the
   * one of that identifier. @returns whom @throws {MillraceError} INVALID_REQUEST for one that is not there or may not send
   */
  async retryExports(stream: string, exporter?: string): Promise<readonly string[]> {
    return (await this.#command(stream, exportCommand("retry", exporter))).exporters;
  }

  /** Sends again what was set aside of all exporters of the stream, or of the one. Resolves when it has begun. */
  async redriveExports(stream: string, exporter?: string): Promise<RedriveResult> {
    return present((await this.#command(stream, exportCommand("redrive", exporter))).redrive, "redrive");
  }

  async #command(name: string, document: string): Promise<ExportCommandResult> {
    const connection = await this.#ready();
    return parseAnswer(await connection.askDocument(Operation.CommandExports, { name, document }));
  }

  async #configure(name: string, change: object): Promise<void> {
    const document = JSON.stringify(change);
    await (await this.#ready()).askDocument(Operation.ConfigureStream, { name, document });
  }

  /** Opens a stream for appending at a high rate. @throws {MillraceError} STREAM_NOT_FOUND, INVALID_SETTING */
  async producer(stream: string, options: ProducerOptions = {}): Promise<Producer> {
    const engine = { environment: this.#environment, url: this.#options.url ?? URL_DEFAULT };
    const packer = await loadPacker(options.compression, engine);
    const producer = new Producer(this.#link(), { ...options, stream, packer });
    const connection = await this.#ready();
    const opened = await connection.openStream(stream);
    this.#adopt(producer, connection, () => producer.onOpened(opened));
    return producer;
  }

  /** Opens a stream for reading as it grows. @throws {MillraceError} STREAM_NOT_FOUND */
  async subscribe(stream: string, options: SubscribeOptions = {}): Promise<Subscription> {
    const subscription = new Subscription(this.#link(), { ...options, stream });
    const connection = await this.#ready();
    const opened = await connection.openStream(stream);
    this.#adopt(subscription, connection, () => subscription.onOpened(opened));
    return subscription;
  }

  /**
   * Closes at once: calls that wait fail with CONNECTION_CLOSED, subscriptions end, and a producer reports what was not
   * answered. To have it answered, close the producers first.
   */
  close(): void {
    if (this.#closeError) return;
    const connection = this.#connection;
    this.#shut(new MillraceError("CONNECTION_CLOSED", "The client was closed"));
    connection?.close();
  }

  /** From here on the dependent is told of every connection; its handle counts only if its connection is still the present one. */
  #adopt(dependent: Dependent, connection: Connection, onOpened: () => void): void {
    if (this.#closeError) throw this.#closeError;
    this.#dependents.add(dependent);
    if (this.#connection === connection) onOpened();
    else if (this.#connection) dependent.onConnected();
  }

  async #connect(): Promise<void> {
    const connection = await Connection.open(
      this.#environment,
      {
        url: endpointUrl(this.#options.url ?? URL_DEFAULT),
        token: this.#options.token,
        authorities: this.#options.authorities,
        timeoutMs: CLIENT_CONNECT_TIMEOUT_MS,
      },
      (error) => this.#onLost(error),
    );
    if (this.#closeError) {
      connection.close();
      return;
    }
    // It may have broken before this line was reached.
    if (!connection.isOpen) throw new MillraceError("CONNECT_FAILED", "Connection closed at once");
    this.#connection = connection;
    for (const waiting of this.#waiting.splice(0)) waiting.resolve(connection);
    for (const dependent of this.#dependents) dependent.onConnected();
  }

  #onLost(error: MillraceError): void {
    if (!this.#connection || this.#closeError) return;
    if (this.#connection.hasReceived) this.#attempt = 0;
    this.#connection = undefined;
    for (const dependent of this.#dependents) dependent.onDisconnected();
    this.#options.onDisconnected?.(error);
    this.#reconnectLater();
  }

  #reconnectLater(): void {
    const delayMs = backoffMs(this.#attempt++, this.#environment.fraction());
    this.#cancelReconnect = this.#environment.after(delayMs, () => {
      this.#cancelReconnect = undefined;
      void this.#reconnect();
    });
  }

  async #reconnect(): Promise<void> {
    try {
      await this.#connect();
      this.#reconnects++;
    } catch (thrown) {
      const error = asMillraceError(thrown);
      if (this.#closeError) return;
      if (error.retryable) this.#reconnectLater();
      else this.#shut(error);
    }
  }

  /** The end: by `close`, or because the engine does not take this client any more. */
  #shut(error: MillraceError): void {
    this.#closeError = error;
    this.#cancelReconnect?.();
    this.#connection = undefined;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
    for (const dependent of [...this.#dependents]) dependent.onClosed(error);
    this.#dependents.clear();
  }

  #ready(): Promise<Connection> {
    if (this.#connection) return Promise.resolve(this.#connection);
    if (this.#closeError) return Promise.reject(this.#closeError);
    return new Promise((resolve, reject) => {
      const cancel = this.#environment.after(CLIENT_REQUEST_TIMEOUT_MS, () => {
        this.#waiting = this.#waiting.filter((other) => other !== waiting);
        reject(new MillraceError("CONNECT_FAILED", `No connection within ${CLIENT_REQUEST_TIMEOUT_MS} ms`));
      });
      const waiting: WaitingCall = {
        resolve: (connection) => {
          cancel();
          resolve(connection);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
      this.#waiting.push(waiting);
    });
  }

  async #call<T extends Reply>(call: Call<T>): Promise<T> {
    return (await this.#ready()).call(call);
  }

  async #openStream(name: string): Promise<OpenStreamResult> {
    return (await this.#ready()).openStream(name);
  }

  #link(): ProducerLink & SubscriptionLink {
    return {
      environment: this.#environment,
      openStream: (name) => this.#openStream(name),
      sendBatch: (batch, handle) => this.#connection?.sendBatch(batch, handle),
      dropConnection: (reason) => this.#connection?.drop(reason),
      subscribe: (request, sink) => this.#connection?.subscribe(request, sink) ?? 0,
      sendCredit: (subscriptionId, creditBytes) => this.#connection?.sendCredit(subscriptionId, creditBytes),
      unsubscribe: (subscriptionId) => this.#connection?.unsubscribe(subscriptionId),
      release: (dependent: Dependent) => void this.#dependents.delete(dependent),
    };
  }
}

function parseAnswer<T>(document: string): T {
  try {
    return JSON.parse(document) as T;
  } catch (cause) {
    throw new MillraceError("MALFORMED_FRAME", "Cannot read the engine's answer: it is not JSON", { cause });
  }
}

function present<T>(value: T | undefined, key: string): T {
  if (value === undefined) throw new MillraceError("INVALID_REQUEST", `The engine's answer lacks ${key}`);
  return value;
}
