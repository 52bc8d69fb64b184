import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { MillraceClient } from "../../../src/client/millrace-client.ts";
import type { ExporterOptionsChange } from "../../../src/core/exporter-options.ts";
import type { ExporterDescription } from "../../../src/core/stream-description.ts";
import { StrategyOnFull } from "../../../src/core/stream-definition.ts";
import { addsUp } from "../../../src/export/live-account.ts";
import { BadLinkProxy } from "../../support/bad-link-proxy.ts";
import { makeCertificate, type TestCertificate } from "../../support/certificates.ts";
import { EngineProcess, temporaryDirectory } from "../../support/engine-process.ts";
import type { CleanUp } from "../../support/program.ts";
import { byLength } from "../../support/test-length.ts";
import { EXPORTER, STREAM, type Counterpart, type DestinationUnderTest } from "./destination-under-test.ts";

const POLL_MS = 5;
/** Only what a sync has made durable is exported: the default would have most of the time pass with waiting for it. */
const engineEnv = byLength<Readonly<Record<string, string>>>({
  everyday: { MILLRACE_SYNC_INTERVAL_MS: "20" },
  long: {},
});

/** What a link has to do with TLS in it. */
export interface TlsLink {
  readonly link: BadLinkProxy;
  readonly certificate: TestCertificate;
}

/** One engine, one stream, one exporter, and what became of the messages, for one case after the other. */
export class ExportRun {
  readonly counterpart: Counterpart;
  readonly #cleanUp: CleanUp;
  readonly #env: Readonly<Record<string, string>>;
  readonly #tls: TlsLink | undefined;
  #engine: EngineProcess;
  #client: MillraceClient;
  #signal = new AbortController().signal;
  /** The next message's. */
  #counter = 0;
  /** Where the case began. */
  #before = { counter: 0, arrived: 0, exported: 0, setAside: 0 };

  private constructor(
    cleanUp: CleanUp,
    counterpart: Counterpart,
    parts: {
      readonly env: Readonly<Record<string, string>>;
      readonly tls: TlsLink | undefined;
      readonly engine: EngineProcess;
      readonly client: MillraceClient;
    },
  ) {
    this.#cleanUp = cleanUp;
    this.counterpart = counterpart;
    this.#env = parts.env;
    this.#tls = parts.tls;
    this.#engine = parts.engine;
    this.#client = parts.client;
    cleanUp.after(() => this.#client.close());
  }

  static async start(cleanUp: CleanUp, destination: DestinationUnderTest): Promise<ExportRun> {
    const counterpart = await destination.start(cleanUp, { tls: undefined });
    return ExportRun.#start(cleanUp, { counterpart, env: {}, tls: undefined });
  }

  /** Over TLS and a link that can be made worse. The environment says that certificates need no check. */
  static async startOverTls(cleanUp: CleanUp, destination: DestinationUnderTest): Promise<ExportRun> {
    const certificate = makeCertificate();
    const counterpart = await destination.start(cleanUp, { tls: certificate });
    const link = await BadLinkProxy.start(cleanUp, counterpart.port!);
    const authoritiesPath = path.join(temporaryDirectory(cleanUp), "authorities.pem");
    writeFileSync(authoritiesPath, certificate.certificate);
    const env = { MILLRACE_EXPORT_CA: authoritiesPath, NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    return ExportRun.#start(cleanUp, { counterpart, env, tls: { link, certificate } });
  }

  static async #start(
    cleanUp: CleanUp,
    {
      counterpart,
      tls,
      ...options
    }: { counterpart: Counterpart; env: Readonly<Record<string, string>>; tls: TlsLink | undefined },
  ): Promise<ExportRun> {
    const reach = { port: tls?.link.port ?? counterpart.port, isTls: tls !== undefined };
    const env = { ...engineEnv, ...counterpart.env(reach), ...options.env };
    const engine = await EngineProcess.start(cleanUp, { env });
    const client = await connect(engine);
    const { exportDefinition, options: streamOptions } = counterpart.exporter(reach);
    const definition = {
      name: STREAM,
      strategyOnFull: StrategyOnFull.RejectNewData,
      ...(exportDefinition === undefined ? {} : { exportDefinition }),
    };
    await client.createMessageStream(definition, streamOptions);
    return new ExportRun(cleanUp, counterpart, { env, tls, engine, client });
  }

  get tls(): TlsLink {
    assert.ok(this.#tls !== undefined, "the run goes over TLS");
    return this.#tls;
  }

  /** A case begins: from here on messages count from 0, and nothing of an earlier one may arrive or be accounted for. */
  async begin(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    const { exported, setAside } = await this.exporter();
    this.#before = {
      counter: this.#counter,
      arrived: (await this.counterpart.arrived()).length,
      exported: exported.messages,
      setAside: setAside.messages,
    };
  }

  /** Appends so many messages; they are stored when this returns. */
  async append(count: number): Promise<void> {
    const appends: Promise<number>[] = [];
    for (let left = count; left > 0; left -= 1) {
      appends.push(this.#client.appendMessage(STREAM, await this.counterpart.payload(this.#counter)));
      this.#counter += 1;
    }
    await Promise.all(appends);
  }

  /** So many that are exported from the first one on in full batches. */
  async appendTogether(count: number): Promise<void> {
    await this.pause();
    await this.append(count);
    await this.until(async () => {
      const { storage } = await this.#client.describeStream(STREAM);
      return storage.syncedEndSequence === storage.nextSequence;
    });
    await this.resume();
  }

  async pause(): Promise<void> {
    await this.#client.pauseExports(STREAM, EXPORTER);
  }

  async resume(): Promise<void> {
    await this.#client.resumeExports(STREAM, EXPORTER);
  }

  /** Ends the waiting after failures. */
  async retry(): Promise<void> {
    await this.#client.retryExports(STREAM, EXPORTER);
  }

  async appendBad(): Promise<void> {
    assert.ok(this.counterpart.badPayload !== undefined, "there is a bad message");
    await this.#client.appendMessage(STREAM, await this.counterpart.badPayload(this.#counter));
    this.#counter += 1;
  }

  /** What arrived in this case, as messages of it count. */
  async arrived(): Promise<number[]> {
    const { counter, arrived } = this.#before;
    return (await this.counterpart.arrived()).slice(arrived).map((each) => each - counter);
  }

  async configure(options: ExporterOptionsChange): Promise<void> {
    await this.#client.configureStream(STREAM, { exporters: { [EXPORTER]: options } });
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
    while (!(await isMet())) await after(POLL_MS, undefined, { signal: this.#signal });
  }

  async exporter(): Promise<ExporterDescription> {
    const { exporters } = await this.#client.describeStream(STREAM);
    const exporter = exporters.find(({ identifier }) => identifier === EXPORTER);
    assert.ok(exporter !== undefined, "the stream has its exporter");
    return exporter;
  }

  /** Every message that was appended is explained, in messages and bytes, and of this case these accounts have so many. */
  async assertAccount(expected: { readonly exported?: number; readonly setAside?: number }): Promise<void> {
    const exporter = await this.exporter();
    const { appended, rewound, pending, losses, ...rest } = exporter;
    const accounts = { ...rest };
    const balance = addsUp({ appended, rewound, pending, accounts, losses: [] });
    assert.ok(balance, `it does not add up: ${JSON.stringify(exporter)}`);
    assert.equal(appended.messages, this.#counter, "every append is counted");
    assert.ok(
      losses.every(({ reason }) => reason === "setAside"),
      JSON.stringify(losses),
    );
    for (const account of ["exported", "setAside"] as const) {
      const messages = expected[account];
      if (messages === undefined) continue;
      assert.equal(exporter[account].messages - this.#before[account], messages, account);
    }
  }

  async kill(): Promise<void> {
    this.#client.close();
    await this.#engine.kill();
  }

  /** A new engine in the store of the one that was killed. */
  async restart(): Promise<void> {
    const { storeDirectory } = this.#engine;
    this.#engine = await EngineProcess.start(this.#cleanUp, { storeDirectory, env: this.#env });
    this.#client = await connect(this.#engine);
  }
}

function connect(engine: EngineProcess): Promise<MillraceClient> {
  return MillraceClient.connect({ url: `ws://127.0.0.1:${engine.port}`, token: engine.token ?? "" });
}
