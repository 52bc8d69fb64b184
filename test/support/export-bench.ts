import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { KinesisConfig } from "../../src/core/stream-definition.ts";
import { ExportManager } from "../../src/export/export-manager.ts";
import type { ExportManagerOptions } from "../../src/export/export-manager-options.ts";
import type { SetAsideRequest } from "../../src/export/set-aside-keeper.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { silentLogger } from "../../src/observe/logger.ts";
import { FakeKinesisServer } from "./fake-kinesis-server.ts";
import { definitionWith, StreamFixture } from "./stream-fixture.ts";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";

/** Points the AWS SDK of this process, and of threads started later, at an endpoint. */
export function useKinesisEndpoint(url: string): void {
  process.env["AWS_ACCESS_KEY_ID"] = "test";
  process.env["AWS_SECRET_ACCESS_KEY"] = "test";
  process.env["AWS_REGION"] = "us-east-1";
  process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] = "true";
  process.env["AWS_ENDPOINT_URL_KINESIS"] = url;
}

/** A directory of streams, a Kinesis server in this process, and managers that export from one to the other. */
export class ExportBench {
  readonly server: FakeKinesisServer;
  readonly directory: string;
  /** What was set aside, in place of companion streams. */
  readonly aside: SetAsideRequest[] = [];
  readonly #t: TestContext;
  readonly #streams = new Map<string, StreamFixture>();

  private constructor(t: TestContext, server: FakeKinesisServer, directory: string) {
    this.#t = t;
    this.server = server;
    this.directory = directory;
  }

  static async start(t: TestContext): Promise<ExportBench> {
    const server = await FakeKinesisServer.start();
    useKinesisEndpoint(server.url);
    const directory = mkdtempSync(path.join(tmpdir(), "millrace-export-"));
    t.after(async () => {
      await server.close();
      rmSync(directory, { recursive: true, force: true });
    });
    return new ExportBench(t, server, directory);
  }

  manager(options: Partial<ExportManagerOptions> = {}): ExportManager {
    const manager = new ExportManager({
      clock: systemClock,
      random: systemRandom,
      storage: fileStorage,
      storeDirectory: this.directory,
      logger: silentLogger,
      keepAside: (request) => {
        this.aside.push(request);
        const kept = request.messages.map(({ sequence }) => sequence);
        return Promise.resolve({ streamName: `${request.origin.streamName}.set-aside`, kept, error: "" });
      },
      ...options,
    });
    this.#t.after(() => manager.close({ deadlineMs: 2000 }));
    return manager;
  }

  /** Makes the stream on first use; a later manager gets the same one. */
  addStream(
    manager: ExportManager,
    name: string,
    configs: readonly KinesisConfig[],
    sizes: { maxSize?: number; segmentSize?: number } = {},
  ): StreamFixture {
    const place = path.join(this.directory, name);
    let stream = this.#streams.get(name);
    if (stream === undefined) {
      const made = new StreamFixture(fileStorage, place, sizes);
      this.#streams.set(name, made);
      this.#t.after(() => made.log.close());
      stream = made;
    }
    const definition = definitionWith(configs, { name });
    const source = stream;
    const drops = () => source.drops;
    manager.addStream({
      streamId: name,
      name,
      directory: place,
      definition,
      options: streamOptionsDefault,
      drops,
    });
    return stream;
  }
}

/** `message 0`, `message 1`, … */
export function numbered(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `message ${from + index}`);
}
