import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { ExporterDescription } from "../../src/core/stream-description.ts";
import type { StreamOptionsChange } from "../../src/core/stream-options.ts";
import { decodeEntry, type SetAsideEntry } from "../../src/export/set-aside-entry.ts";
import type { StreamDefinitionInput } from "../../src/wire/stream-definition-codec.ts";
import { exportedStream, startKinesis } from "../faults/exported-streams.ts";
import { EngineProcess } from "../support/engine-process.ts";
import type { FakeKinesisServer } from "../support/fake-kinesis-server.ts";

export const STREAM = "readings";
export const COMPANION = "readings.set-aside";
export const DEADLINE_MS = 60_000;

/** An engine that exports to a Kinesis that refuses what begins with "bad" for as long as `isPicky`. */
export class SetAsideBench {
  readonly kinesis: FakeKinesisServer;
  isPicky = true;
  readonly #t: TestContext;
  readonly #env: Record<string, string>;
  #engine: EngineProcess | undefined;
  #client: MillraceClient | undefined;

  private constructor(t: TestContext, kinesis: FakeKinesisServer, env: Record<string, string>) {
    this.#t = t;
    this.kinesis = kinesis;
    this.#env = env;
    kinesis.answer = ({ data }) =>
      this.isPicky && data.some((text) => text.startsWith("bad"))
        ? { kind: "error", status: 400, type: "ValidationException", message: "a bad record" }
        : { kind: "accept" };
    t.after(() => this.#client?.close());
  }

  static async start(t: TestContext): Promise<SetAsideBench> {
    const { kinesis, kinesisEnv } = await startKinesis(t);
    const bench = new SetAsideBench(t, kinesis, kinesisEnv);
    await bench.#run(undefined);
    return bench;
  }

  async #run(storeDirectory: string | undefined): Promise<void> {
    const store = storeDirectory === undefined ? {} : { storeDirectory };
    this.#engine = await EngineProcess.start(this.#t, { env: this.#env, ...store });
    const { port, token = "" } = this.#engine;
    this.#client = await MillraceClient.connect({ url: `ws://127.0.0.1:${port}`, token });
  }

  get engine(): EngineProcess {
    assert.ok(this.#engine !== undefined);
    return this.#engine;
  }

  async kill(): Promise<void> {
    this.client.close();
    await this.engine.kill();
  }

  /** In the store of the one that has ended. */
  async restart(): Promise<void> {
    await this.#run(this.engine.storeDirectory);
  }

  async killAndRestart(): Promise<void> {
    await this.kill();
    await this.restart();
  }

  get client(): MillraceClient {
    assert.ok(this.#client !== undefined);
    return this.#client;
  }

  async create(
    name = STREAM,
    options: StreamOptionsChange = {},
    changes: Partial<StreamDefinitionInput> = {},
  ): Promise<void> {
    await this.client.createMessageStream(exportedStream(name, changes), options);
  }

  async append(...payloads: string[]): Promise<void> {
    for (const payload of payloads) await this.client.appendMessage(STREAM, Buffer.from(payload));
  }

  async exporter(): Promise<ExporterDescription> {
    const [exporter] = (await this.client.describeStream(STREAM)).exporters;
    assert.ok(exporter !== undefined);
    const { appended, rewound, pending, exported, setAside, overwritten, expired } = exporter;
    const { deleted, damaged, skipped } = exporter;
    for (const unit of ["messages", "payloadBytes"] as const) {
      const accounts = [pending, exported, setAside, overwritten, expired, deleted, damaged, skipped];
      const explained = accounts.reduce((sum, totals) => sum + totals[unit], 0);
      assert.equal(explained, appended[unit] + rewound[unit], `the account adds up in ${unit}`);
    }
    return exporter;
  }

  async exporterOnce(isMet: (exporter: ExporterDescription) => boolean): Promise<ExporterDescription> {
    const deadlineMs = Date.now() + DEADLINE_MS;
    for (;;) {
      const exporter = await this.exporter();
      if (isMet(exporter)) return exporter;
      assert.ok(Date.now() < deadlineMs, JSON.stringify(exporter));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async allSettled(): Promise<ExporterDescription> {
    return this.exporterOnce(({ pending }) => pending.messages === 0);
  }

  /** Resolves when what was asked for is sent again. */
  async untilRedriven(): Promise<void> {
    const deadlineMs = Date.now() + DEADLINE_MS;
    for (;;) {
      const { setAside } = await this.client.describeStream(STREAM);
      const redrives = setAside?.redrives ?? [];
      if (redrives.every(({ position, endSequence }) => position >= endSequence)) return;
      assert.ok(Date.now() < deadlineMs, JSON.stringify(redrives));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async entries(name = COMPANION): Promise<SetAsideEntry[]> {
    const { storage } = await this.client.describeStream(name);
    const entries: SetAsideEntry[] = [];
    for (let sequence = storage.oldestSequence; sequence < storage.nextSequence; sequence += 1) {
      const [message] = await this.client.readMessages(name, { desiredStartSequenceNumber: sequence });
      const entry = decodeEntry(message!.payload);
      assert.ok(entry !== undefined, "an entry");
      entries.push(entry);
    }
    return entries;
  }
}

export function payloadOf({ payload }: SetAsideEntry): string {
  assert.ok(payload !== undefined);
  return Buffer.from(payload, "base64").toString();
}
