import path from "node:path";
import type { EndpointCounts } from "./kinesis-endpoint.ts";
import { ServerProcess } from "./server-process.ts";

const endpointScript = path.join(import.meta.dirname, "kinesis-endpoint.js");

/** What it took the endpoint to receive a number of messages. */
export interface ArrivalCosts {
  readonly endpointCpuS: number;
  readonly requests: number;
}

/** The server that accepts everything, in a process of its own. */
export class KinesisTarget {
  readonly #server: ServerProcess;
  #records = 0;
  #requests = 0;

  private constructor(server: ServerProcess) {
    this.#server = server;
  }

  static async start(): Promise<KinesisTarget> {
    return new KinesisTarget(await ServerProcess.start({ script: endpointScript }));
  }

  /** Where the SDK finds it. */
  get environment(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_KINESIS: this.#url,
      AWS_ACCESS_KEY_ID: "bench",
      AWS_SECRET_ACCESS_KEY: "bench",
      AWS_REGION: "us-east-1",
      AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true",
    };
  }

  /** What has come so far. @throws Error when something was refused */
  async counts(): Promise<EndpointCounts> {
    return this.#countsAt(0);
  }

  cpuSeconds(): number {
    return this.#server.cpuSeconds();
  }

  /** What `send` takes to have so many records arrive. */
  async during<T extends object>(messageCount: number, send: () => Promise<T>): Promise<T & ArrivalCosts> {
    const cpuS = this.cpuSeconds();
    const before = this.#requests;
    const [result] = await Promise.all([send(), this.#receive(messageCount)]);
    return { ...result, endpointCpuS: this.cpuSeconds() - cpuS, requests: this.#requests - before };
  }

  async stop(): Promise<void> {
    await this.#server.stop();
  }

  async kill(): Promise<void> {
    await this.#server.kill();
  }

  /** Resolves when so many more records came than at the end of the last round. */
  async #receive(count: number): Promise<void> {
    this.#records += count;
    const { records, requests } = await this.#countsAt(this.#records);
    if (records !== this.#records) throw new Error(`${records} records came, not ${this.#records}`);
    this.#requests = requests;
  }

  /** The counts once so many records came. */
  async #countsAt(records: number): Promise<EndpointCounts> {
    const answer = await fetch(`${this.#url}/records/${records}`);
    const counts = (await answer.json()) as EndpointCounts;
    if (counts.refused > 0) throw new Error(`${counts.refused} requests were not signed PutRecords`);
    return counts;
  }

  get #url(): string {
    return `http://${this.#server.host}:${this.#server.port}`;
  }
}
