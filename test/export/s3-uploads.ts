import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as after } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { MillraceClient } from "../../src/client/millrace-client.ts";
import type { ExporterDescription } from "../../src/core/stream-description.ts";
import { Persistence, StatusLevel, StrategyOnFull } from "../../src/core/stream-definition.ts";
import { addsUp } from "../../src/export/live-account.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import { statusNames, type ToldStatus } from "../support/s3-bench.ts";
import { TestS3Server } from "../support/test-s3-server.ts";

/** An engine, a server, a directory of files, and streams `tasks` and `status`. */
export class Uploads {
  readonly t: TestContext;
  readonly server: TestS3Server;
  readonly files: string;
  engine: EngineProcess;
  client: MillraceClient;

  private constructor(
    t: TestContext,
    parts: { server: TestS3Server; files: string; engine: EngineProcess; client: MillraceClient },
  ) {
    this.t = t;
    this.server = parts.server;
    this.files = parts.files;
    this.engine = parts.engine;
    this.client = parts.client;
    t.after(() => this.client.close());
  }

  static async start(t: TestContext, { buckets }: { buckets?: readonly string[] } = {}): Promise<Uploads> {
    const server = await TestS3Server.start(t, buckets === undefined ? {} : { buckets });
    const files = path.join(temporaryDirectory(t), "files");
    mkdirSync(files);
    const engine = await EngineProcess.start(t, { env: environmentOf(server, files) });
    const client = await connect(engine);
    return new Uploads(t, { server, files, engine, client });
  }

  async restart(): Promise<void> {
    const { storeDirectory } = this.engine;
    this.engine = await EngineProcess.start(this.t, {
      storeDirectory,
      env: environmentOf(this.server, this.files),
    });
    this.client = await connect(this.engine);
  }

  async createStreams(statusPersistence: Persistence = Persistence.File): Promise<void> {
    await this.client.createMessageStream({
      name: "status",
      strategyOnFull: StrategyOnFull.OverwriteOldestData,
      persistence: statusPersistence,
    });
    await this.client.createMessageStream(taskStream);
  }

  file(name: string, content: Uint8Array | string): string {
    const place = path.join(this.files, name);
    writeFileSync(place, content);
    return pathToFileURL(place).href;
  }

  append(task: object | string): Promise<number> {
    return this.client.appendMessage(
      "tasks",
      Buffer.from(typeof task === "string" ? task : JSON.stringify(task)),
    );
  }

  /** Everything in the status stream, oldest first. */
  async told(): Promise<ToldStatus[]> {
    const { storageStatus } = await this.client.describeMessageStream("status");
    if (storageStatus.newestSequenceNumber < 0) return [];
    const messages = await this.client.readMessages("status", { maxMessageCount: 1000 });
    return messages.map(({ payload }) => JSON.parse(Buffer.from(payload).toString()) as ToldStatus);
  }

  async statuses(): Promise<string[]> {
    return (await this.told()).map(({ status }) => statusNames[status]!);
  }

  async untilStatuses(isMet: (statuses: string[]) => boolean): Promise<string[]> {
    for (;;) {
      const statuses = await this.statuses();
      if (isMet(statuses)) return statuses;
      await after(20, undefined, { signal: this.t.signal });
    }
  }

  async untilPassed(): Promise<ExporterDescription> {
    for (;;) {
      const [exporter] = (await this.client.describeStream("tasks")).exporters;
      assert.ok(exporter !== undefined);
      if (exporter.pending.messages === 0) return exporter;
      await after(20, undefined, { signal: this.t.signal });
    }
  }
}

export const taskStream = {
  name: "tasks",
  strategyOnFull: StrategyOnFull.OverwriteOldestData,
  exportDefinition: {
    s3TaskExecutor: [
      { identifier: "uploads", statusConfig: { statusLevel: StatusLevel.TRACE, statusStreamName: "status" } },
    ],
  },
};

function environmentOf(server: TestS3Server, files: string): Record<string, string> {
  return { ...server.environment, STREAM_MANAGER_READ_ONLY_DIRS: files };
}

function connect(engine: EngineProcess): Promise<MillraceClient> {
  return MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}`, token: engine.token ?? "" });
}

export function assertBalanced(exporter: ExporterDescription): void {
  const { appended, rewound, pending } = exporter;
  const balance = addsUp({ appended, rewound, pending, accounts: exporter, losses: [] });
  assert.ok(balance, JSON.stringify(exporter));
}
