import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { systemClock } from "../../src/core/clock.ts";
import { StatusLevel } from "../../src/core/stream-definition.ts";
import type { SendContext, SendOutcome } from "../../src/export/destinations/destination.ts";
import { S3Destination } from "../../src/export/destinations/s3.ts";
import type { S3Task } from "../../src/export/destinations/s3-task.ts";
import { newCursor } from "../../src/export/cursor-layout.ts";
import {
  type DestinationEnvironment,
  destinationEnvironmentDefault,
} from "../../src/export/worker-settings.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import type { Storage } from "../../src/log/storage.ts";
import { temporaryDirectory } from "./engine-process.ts";
import { TestS3Server } from "./test-s3-server.ts";

export const MIB = 1024 * 1024;
export const statusNames = ["Success", "Failure", "InProgress", "Warning", "Canceled"];

/** A StatusMessage as the status stream holds it. */
export interface ToldStatus {
  readonly eventType: number;
  readonly statusLevel: number;
  readonly status: number;
  readonly statusContext: {
    readonly s3ExportTaskDefinition?: S3Task;
    readonly exportIdentifier: string;
    readonly streamName: string;
    readonly sequenceNumber: number;
  };
  readonly message: string;
  readonly timestampEpochMs: number;
}

/** Settings of an exporter of S3 tasks. */
export const s3Settings = {
  kind: "s3TaskExecutor",
  multipartThresholdBytes: 5 * MIB,
  statusLevel: StatusLevel.TRACE,
  statusStreamName: "status",
} as const;

const EXPORTER_ID = "00112233445566778899aabbccddeeff";

/** Of a task. */
interface S3Place {
  readonly sequence?: number;
  /** Of the exporter; that of the task by default. */
  readonly position?: number;
  readonly exporterId?: string;
}

/** The destination of S3 tasks in this process, a server, and a directory of files that may be uploaded. */
export class S3Bench {
  readonly server: TestS3Server;
  /** Files may be read in `files` below it. */
  readonly directory: string;
  readonly storeDirectory: string;
  readonly told: ToldStatus[] = [];
  settings:
    | typeof s3Settings
    | (Omit<typeof s3Settings, "statusStreamName" | "statusLevel"> & {
        readonly statusLevel: StatusLevel;
        readonly statusStreamName: string | undefined;
      }) = s3Settings;
  readonly #t: TestContext;
  #destination: S3Destination | undefined;
  #continuation: string | undefined;
  readonly #storage: Storage;
  readonly #environment: Partial<DestinationEnvironment>;

  private constructor(
    t: TestContext,
    server: TestS3Server,
    options: { storage?: Storage; environment?: Partial<DestinationEnvironment> },
  ) {
    this.#t = t;
    this.server = server;
    this.directory = temporaryDirectory(t);
    this.storeDirectory = path.join(this.directory, "store");
    mkdirSync(path.join(this.storeDirectory, "stream"), { recursive: true });
    mkdirSync(this.files);
    this.#storage = options.storage ?? fileStorage;
    this.#environment = options.environment ?? {};
  }

  static async start(
    t: TestContext,
    options: { storage?: Storage; environment?: Partial<DestinationEnvironment> } = {},
  ): Promise<S3Bench> {
    const server = await TestS3Server.start(t);
    Object.assign(process.env, server.environment);
    return new S3Bench(t, server, options);
  }

  get files(): string {
    return path.join(this.directory, "files");
  }

  /** Makes a file of the given content. @returns its URL */
  file(name: string, content: Uint8Array | string): string {
    const place = path.join(this.files, name);
    writeFileSync(place, content);
    return pathToFileURL(place).href;
  }

  /** As after a restart: nothing is known but what is on disk. */
  async restart(): Promise<void> {
    this.#destination?.close();
    this.#continuation = undefined;
    this.#destination = await S3Destination.load({
      storage: this.#storage,
      clock: systemClock,
      storeDirectory: this.storeDirectory,
      environment: {
        ...destinationEnvironmentDefault,
        readOnlyDirectories: [this.files],
        s3ForcePathStyle: true,
        ...this.#environment,
      },
    });
  }

  /** One step. Notices are taken, and what it asks for is given back with the next one. */
  async step(
    task: unknown,
    { sequence = 0, position, exporterId = EXPORTER_ID }: S3Place = {},
  ): Promise<SendOutcome> {
    if (this.#destination === undefined) {
      await this.restart();
      this.#t.after(() => this.#destination?.close());
    }
    const data = Buffer.from(typeof task === "string" ? task : JSON.stringify(task));
    const record = { sequence, ingestTimeMs: 1000 + sequence, data };
    const outcome = await this.#destination!.send(this.settings, [record], {
      ...this.#context(position ?? sequence),
      exporterId,
    });
    this.#continuation = outcome.kind === "progress" ? outcome.continuation : undefined;
    for (const { payload } of outcome.notices ?? []) this.told.push(JSON.parse(payload) as ToldStatus);
    return outcome;
  }

  /** Steps until the task is answered, or something fails. */
  async run(task: unknown, place: S3Place = {}): Promise<SendOutcome> {
    for (;;) {
      const outcome = await this.step(task, place);
      if (outcome.kind !== "progress") return outcome;
    }
  }

  async cancel(): Promise<void> {
    const { notices } = await this.#destination!.cancel(this.settings, this.#context(0), "removed");
    for (const { payload } of notices) {
      this.told.push(JSON.parse(payload) as ToldStatus);
    }
  }

  /** Names of the statuses told so far. */
  get statuses(): string[] {
    return this.told.map(({ status }) => statusNames[status]!);
  }

  #context(position: number): SendContext {
    return {
      streamId: "stream",
      streamName: "tasks",
      exporterId: EXPORTER_ID,
      identifier: "uploads",
      streamDirectory: path.join(this.storeDirectory, "stream"),
      cursor: { ...newCursor(0), position },
      continuation: this.#continuation,
    };
  }
}

/** Bytes that differ from place to place. */
export function contentOf(sizeBytes: number, seed = 1): Buffer {
  const content = Buffer.alloc(sizeBytes);
  let state = seed;
  for (let at = 0; at + 4 <= sizeBytes; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    content.writeUInt32LE(state, at);
  }
  return content;
}
