import { totalmem } from "node:os";
import type { RunningEngine } from "./cli/serve.ts";
import type { Settings } from "./config/schema.ts";
import { systemClock } from "./core/clock.ts";
import { asMillraceError } from "./core/errors.ts";
import { FRAME_OVERHEAD_BYTES_MAX } from "./core/limits.ts";
import { systemRandom } from "./core/random.ts";
import { Engine } from "./engine/engine.ts";
import { engineSamples } from "./engine/engine-samples.ts";
import { exportedEndSequence } from "./export/cursor-file.ts";
import { ExportManager } from "./export/export-manager.ts";
import { fileStorage } from "./log/file-storage.ts";
import { letHeapGrow } from "./heap-growth.ts";
import { type Authenticator, openAuthenticator } from "./net/authenticator.ts";
import { type Port, type PortOptions, listenPort } from "./net/listen-port.ts";
import { type StoreLock, lockStore } from "./net/store-lock.ts";
import { openTokenStore, tokenPath } from "./net/token-store.ts";
import { EventName } from "./observe/events.ts";
import { Health } from "./observe/health.ts";
import { type Logger, createLogger } from "./observe/logger.ts";
import { Metrics } from "./observe/metrics.ts";
import { processSamples } from "./observe/process-samples.ts";
import {
  type StoreContents,
  makeStoreRoot,
  openStoreDirectory,
  storeUnusable,
} from "./stream/store-directory.ts";
import { millraceVersion } from "./version.ts";

/** The variables of the process, for what reads them itself: the AWS SDK. */
type Environment = Readonly<Record<string, string | undefined>>;

/** What runs; a part is missing while, or because, the start did not come so far. */
interface Parts {
  lock?: StoreLock;
  exports?: ExportManager;
  engine?: Engine;
  port?: Port;
}

/** Puts the engine together and starts it. Resolves when clients are served. @throws {MillraceError} when it cannot start */
export async function startEngine(settings: Settings, environment: Environment): Promise<RunningEngine> {
  // Whatever is made from here on is for this user alone, also where no mode is given.
  process.umask(0o077);
  letHeapGrow({ memoryBytes: Math.min(totalmem(), process.constrainedMemory() || Infinity) });
  const logger = createLogger({ level: settings.logLevel });
  logger.info(EventName.EngineStarted, { version: millraceVersion(), pid: process.pid });
  const parts: Parts = {};
  try {
    return await assemble(settings, { environment, logger, parts });
  } catch (thrown) {
    await stop(parts, settings);
    throw thrown;
  }
}

async function assemble(
  settings: Settings,
  given: { environment: Environment; logger: Logger; parts: Parts },
): Promise<RunningEngine> {
  const { environment, logger, parts } = given;
  const { storeDirectory, host } = settings;
  const health = new Health();
  const metrics = new Metrics();
  const store = await openStore(settings, logger, parts);
  const exports = startExports(settings, environment, logger);
  parts.exports = exports;
  const engine = startWorkers(settings, { logger, exports, epoch: store.contents.epoch });
  parts.engine = engine;
  metrics.addProvider(processSamples({ health, version: millraceVersion() }));
  metrics.addProvider(() => engineSamples(engine, exports));
  // The port opens before recovery, so that a supervisor can ask whether the process lives; clients wait until it is ready.
  const port = await openPort(settings, {
    handler: engine,
    authenticator: store.authenticator,
    health,
    metrics,
    logger,
  });
  parts.port = port;
  await engine.recover(store.contents);
  health.setReady();
  logger.info(EventName.EngineReady, { address: port.address, port: port.port, count: engine.catalog.size });
  const close = async (): Promise<void> => {
    logger.info(EventName.EngineStopping);
    health.setStopping();
    await stop(parts, settings);
    logger.info(EventName.EngineStopped);
  };
  return { host, port: port.port, storeDirectory, close };
}

/** Ends what runs: no new requests, everything taken is committed and answered, cursors are synced, the store is free. */
async function stop(parts: Parts, settings: Settings): Promise<void> {
  parts.port?.stopReading();
  // Each step whatever became of those before: a worker that cannot sync must cost neither cursors nor replies.
  const steps = [
    () => parts.engine?.close(),
    () => parts.exports?.close({ deadlineMs: settings.shutdownMs }),
    () => parts.port?.close(),
    () => parts.lock?.release(),
  ];
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (thrown) {
      failures.push(thrown);
    }
  }
  if (failures.length > 0) throw asMillraceError(failures[0]);
}

async function openStore(
  settings: Settings,
  logger: Logger,
  parts: Parts,
): Promise<{ contents: StoreContents; authenticator: Authenticator }> {
  const { storeDirectory } = settings;
  try {
    makeStoreRoot(fileStorage, storeDirectory);
    parts.lock = await lockStore({ directory: storeDirectory, random: systemRandom });
    const authenticator = openAuthentication(settings, logger);
    const contents = openStoreDirectory({ storage: fileStorage, storeDirectory });
    logger.info(EventName.StoreOpened, { path: storeDirectory, count: contents.streams.length });
    return { contents, authenticator };
  } catch (thrown) {
    throw storeUnusable(storeDirectory, thrown);
  }
}

function openAuthentication(settings: Settings, logger: Logger): Authenticator {
  if (!settings.authenticate) return openAuthenticator;
  const options = { directory: settings.storeDirectory, random: systemRandom, clock: systemClock };
  const { authenticator, isNew } = openTokenStore(options);
  if (isNew) logger.info(EventName.TokenCreated, { path: tokenPath(settings.storeDirectory) });
  return authenticator;
}

function startExports(settings: Settings, environment: Environment, logger: Logger): ExportManager {
  return new ExportManager({
    clock: systemClock,
    random: systemRandom,
    storage: fileStorage,
    logger,
    threadPoolSize: settings.exportThreads,
    // What the AWS SDK's own chain reads; without the last it warns of this version of Node.js in every thread.
    environment: { ...environment, AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: "true" },
  });
}

function startWorkers(
  settings: Settings,
  parts: { logger: Logger; exports: ExportManager; epoch: number },
): Engine {
  const { blockBytes, syncIntervalMs, syncBytes, commitAlignBytes } = settings;
  return new Engine({
    clock: systemClock,
    random: systemRandom,
    logger: parts.logger,
    storeDirectory: settings.storeDirectory,
    streamsMax: settings.streamsMax,
    messageBytesMax: settings.messageBytesMax,
    workerCountMax: settings.workers,
    ringBytes: settings.ringBytes,
    worker: { epoch: parts.epoch, blockBytes, syncIntervalMs, syncBytes, commitAlignBytes },
    exports: parts.exports,
    exportedEndSequence: (directory) => exportedEndSequence(fileStorage, directory),
  });
}

function openPort(
  settings: Settings,
  parts: Pick<PortOptions, "handler" | "authenticator" | "health" | "metrics" | "logger">,
): Promise<Port> {
  return listenPort({
    ...parts,
    host: settings.host,
    port: settings.port,
    clock: systemClock,
    limits: {
      connectionsMax: settings.connectionsMax,
      frameBytesMax: settings.messageBytesMax + FRAME_OVERHEAD_BYTES_MAX,
      shutdownDeadlineMs: settings.shutdownMs,
    },
    allowedHosts: settings.allowedHosts,
    allowedOrigins: settings.allowedOrigins,
    serverVersion: millraceVersion(),
  });
}
