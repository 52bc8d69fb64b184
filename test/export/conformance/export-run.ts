import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../../src/client/millrace-client.ts";
import type { ExporterDescription } from "../../../src/core/stream-description.ts";
import { StrategyOnFull } from "../../../src/core/stream-definition.ts";
import { addsUp } from "../../../src/export/live-account.ts";
import { EngineProcess } from "../../support/engine-process.ts";
import { EXPORTER, STREAM, type Counterpart, type DestinationUnderTest } from "./destination-under-test.ts";

const POLL_MS = 10;

export interface ExportRunOptions {
  readonly destination: DestinationUnderTest;
  readonly counterpart: Counterpart;
  /** Of the counterpart, or of what stands before it. */
  readonly port: number | undefined;
  readonly authoritiesPath?: string;
  /** Beside what the counterpart needs. */
  readonly env?: Readonly<Record<string, string>>;
}

/** One engine, one stream, one exporter, and what became of the messages. */
export class ExportRun {
  readonly #t: TestContext;
  readonly #counterpart: Counterpart;
  readonly #env: Readonly<Record<string, string>>;
  #engine: EngineProcess;
  #client: MillraceClient;

  private constructor(
    t: TestContext,
    counterpart: Counterpart,
    parts: {
      readonly env: Readonly<Record<string, string>>;
      readonly engine: EngineProcess;
      readonly client: MillraceClient;
    },
  ) {
    this.#t = t;
    this.#counterpart = counterpart;
    this.#env = parts.env;
    this.#engine = parts.engine;
    this.#client = parts.client;
    t.after(() => this.#client.close());
  }

  static async start(t: TestContext, options: ExportRunOptions): Promise<ExportRun> {
    const { destination, counterpart, port, authoritiesPath } = options;
    const reach = { port, authoritiesPath };
    const trust = authoritiesPath === undefined ? {} : { MILLRACE_EXPORT_CA: authoritiesPath };
    const env = { ...trust, ...counterpart.env(reach), ...options.env };
    const engine = await EngineProcess.start(t, { env });
    const client = await connect(engine);
    const { exportDefinition, options: streamOptions } = counterpart.exporter(reach);
    assert.ok(destination.batchSize > 0, "a batch holds a message");
    const definition = {
      name: STREAM,
      strategyOnFull: StrategyOnFull.RejectNewData,
      ...(exportDefinition === undefined ? {} : { exportDefinition }),
    };
    await client.createMessageStream(definition, streamOptions);
    return new ExportRun(t, counterpart, { env, engine, client });
  }

  /** Appends the messages `from` to `to`, exclusive; they are stored when this returns. */
  async append(from: number, to: number): Promise<void> {
    const appends: Promise<number>[] = [];
    for (let counter = from; counter < to; counter += 1) {
      appends.push(this.#client.appendMessage(STREAM, await this.#counterpart.payload(counter)));
    }
    await Promise.all(appends);
  }

  async appendBad(counter: number): Promise<void> {
    assert.ok(this.#counterpart.badPayload !== undefined, "there is a bad message");
    await this.#client.appendMessage(STREAM, await this.#counterpart.badPayload(counter));
  }

  /** Until every message has its account. */
  async drain(): Promise<void> {
    await this.until(async () => (await this.exporter()).pending.messages === 0);
  }

  /** Until the exporter tells of a failure. @returns what it tells */
  async untilError(): Promise<string> {
    let error = "";
    await this.until(async () => (error = await this.error()) !== "");
    return error;
  }

  /** What describe says went wrong last. */
  async error(): Promise<string> {
    return (await this.exporter()).errorMessage;
  }

  /** The test's own deadline ends it. */
  async until(isMet: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await isMet())) await after(POLL_MS, undefined, { signal: this.#t.signal });
  }

  async exporter(): Promise<ExporterDescription> {
    const { exporters } = await this.#client.describeStream(STREAM);
    const exporter = exporters.find(({ identifier }) => identifier === EXPORTER);
    assert.ok(exporter !== undefined, "the stream has its exporter");
    return exporter;
  }

  /** Every message that was appended is explained, in messages and bytes, and these accounts have so many. */
  async assertAccount(expected: { readonly exported?: number; readonly setAside?: number }): Promise<void> {
    const exporter = await this.exporter();
    const { appended, rewound, pending, losses, ...rest } = exporter;
    const accounts = { ...rest };
    const balance = addsUp({ appended, rewound, pending, accounts, losses: [] });
    assert.ok(balance, `it does not add up: ${JSON.stringify(exporter)}`);
    assert.ok(losses.length <= 1, JSON.stringify(losses));
    for (const [account, messages] of Object.entries(expected)) {
      assert.equal(exporter[account as "exported" | "setAside"].messages, messages, account);
    }
  }

  async kill(): Promise<void> {
    this.#client.close();
    await this.#engine.kill();
  }

  /** A new engine in the store of the one that was killed. */
  async restart(): Promise<void> {
    const { storeDirectory } = this.#engine;
    this.#engine = await EngineProcess.start(this.#t, { storeDirectory, env: this.#env });
    this.#client = await connect(this.#engine);
  }
}

function connect(engine: EngineProcess): Promise<MillraceClient> {
  return MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}`, token: engine.token ?? "" });
}
