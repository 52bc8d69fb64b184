import type { RunningEngine } from "./cli/serve.ts";
import { isLoopback } from "./config/load-settings.ts";
import type { Settings } from "./config/schema.ts";
import { assert } from "./core/assert.ts";
import { systemClock } from "./core/clock.ts";
import { asMillraceError } from "./core/errors.ts";
import { parseExportMap } from "./core/export-map.ts";
import { FRAME_OVERHEAD_BYTES_MAX } from "./core/limits.ts";
import { systemRandom } from "./core/random.ts";
import { systemTimers } from "./core/timers.ts";
import { DiskOutlook } from "./engine/disk-outlook.ts";
import { Engine } from "./engine/engine.ts";
import { degradations } from "./engine/degradation.ts";
import { engineSamples } from "./engine/engine-samples.ts";
import { appendInternally } from "./engine/internal-append.ts";
import { exportedEnd } from "./export/cursor-file.ts";
import { readAuthorities } from "./export/destinations/certificate-authorities.ts";
import { readHeadersFile } from "./export/destinations/http-headers.ts";
import { ExportManager } from "./export/export-manager.ts";
import type { IotCredentialSettings } from "./export/worker-settings.ts";
import { Ballast, ballastPath, withBallast } from "./log/ballast.ts";
import { fileStorage } from "./log/file-storage.ts";
import { refuseCrashDumps } from "./crash-dumps.ts";
import { letHeapGrow } from "./heap-growth.ts";
import { machineMemoryBytes } from "./machine-memory.ts";
import { openAuthenticator } from "./net/authenticator.ts";
import { type Port, type PortOptions, listenPort } from "./net/listen-port.ts";
import { PortPause } from "./net/port-pause.ts";
import { countDescriptors } from "./net/process-descriptors.ts";
import { type StoreLock, lockStore } from "./net/store-lock.ts";
import { TokenKeeper } from "./net/token-keeper.ts";
import type { NativeBindings } from "./native/native-bindings.ts";
import { quickAcknowledgement } from "./native/quick-ack.ts";
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
import { threadPlatform } from "./stream/stream-workers.ts";
import { StorageDelay } from "./stream/storage-watch.ts";
import { noteCleanEnd } from "./stream/store-epoch.ts";
import { assertStoreFormat, ensureStoreFormat } from "./stream/store-format.ts";
import { placeThreads, type Threads } from "./threads.ts";
import { millraceVersion } from "./version.ts";

/** The variables of the process, for what reads them itself: the AWS SDK. */
type Environment = Readonly<Record<string, string | undefined>>;

/** What runs; a part is missing while, or because, the start did not come so far. */
interface Parts {
  lock?: StoreLock;
  tokens?: TokenKeeper;
  ballast?: Ballast;
  exports?: ExportManager;
  engine?: Engine;
  port?: Port;
  portPause?: PortPause;
  /** Says in the store that all of it is durable; there once every stream was opened. */
  noteCleanEnd?: () => void;
}

/** Puts the engine together and starts it. Resolves when clients are served. @throws {MillraceError} when it cannot start */
export async function startEngine(settings: Settings, environment: Environment): Promise<RunningEngine> {
  // Whatever is made from here on is for this user alone, also where no mode is given.
  process.umask(0o077);
  if (settings.heapGrowth) letHeapGrow({ memoryBytes: machineMemoryBytes() });
  const logger = createLogger({ level: settings.logLevel });
  logger.info(EventName.EngineStarted, { version: millraceVersion(), pid: process.pid });
  if (!settings.crashDumps) refuseDumps(logger);
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
  const threads = await placeThreads(settings, logger);
  const { bindings } = threads;
  const contents = await openStore(settings, logger, parts);
  const ballast = startBallast(settings, logger);
  parts.ballast = ballast;
  const exports = startExports(settings, environment, { logger, parts, threads });
  parts.exports = exports;
  const onStorageDelay = storageDelayHandler({ health, parts });
  const engine = startWorkers(settings, { logger, exports, threads, epoch: contents.epoch, onStorageDelay });
  parts.engine = engine;
  health.addSource(() => degradations(engine.catalog));
  metrics.addProvider(processSamples({ health, version: millraceVersion() }));
  metrics.addProvider(() => engineSamples(engine, exports));
  metrics.addProvider(() => [
    { name: "ballast_bytes", value: ballast.sizeBytes },
    { name: "native_bindings", value: bindings === undefined ? 0 : 1 },
  ]);
  metrics.addProvider(() => parts.tokens?.samples() ?? []);
  // The port opens before recovery, so that a supervisor can ask whether the process lives; clients wait until it is ready.
  const port = await openPort(settings, {
    handler: engine,
    authenticator: parts.tokens?.authenticator ?? openAuthenticator,
    health,
    metrics,
    logger,
    bindings,
  });
  parts.port = port;
  parts.portPause = new PortPause({ port, timers: systemTimers, logger });
  await engine.recover(contents);
  const { epoch } = contents;
  const storage = withBallast(fileStorage, storeDirectory);
  parts.noteCleanEnd = () => noteCleanEnd(storage, storeDirectory, epoch);
  health.setReady();
  logger.info(EventName.EngineReady, { address: port.address, port: port.port, count: engine.catalog.size });
  const close = async (): Promise<void> => {
    logger.info(EventName.EngineStopping);
    health.setStopping();
    await stop(parts, settings);
    logger.info(EventName.EngineStopped);
  };
  const reload = (): void => {
    parts.tokens?.reload();
    port.reload();
  };
  return { host, port: port.port, storeDirectory, reload, close };
}

/** Ends what runs: no new requests, everything taken is committed and answered, cursors are synced, the store is free. */
async function stop(parts: Parts, settings: Settings): Promise<void> {
  parts.portPause?.close();
  parts.port?.stopReading();
  // Each step whatever became of those before: a worker that cannot sync must cost neither cursors nor replies.
  const steps = [
    async () => {
      await parts.engine?.close();
      parts.noteCleanEnd?.();
    },
    () => parts.exports?.close({ deadlineMs: settings.shutdownMs }),
    () => parts.port?.close(),
    () => parts.ballast?.close(),
    () => parts.tokens?.close(),
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

function refuseDumps(logger: Logger): void {
  const reason = refuseCrashDumps();
  if (reason !== undefined) logger.warn(EventName.CrashDumpsPossible, { reason });
}

async function openStore(settings: Settings, logger: Logger, parts: Parts): Promise<StoreContents> {
  const { storeDirectory } = settings;
  try {
    makeStoreRoot(fileStorage, storeDirectory);
    assertStoreFormat(fileStorage, storeDirectory);
    parts.lock = await lockStore({ directory: storeDirectory, random: systemRandom });
    ensureStoreFormat(fileStorage, storeDirectory, millraceVersion());
    openAuthentication(settings, logger, parts);
    const storage = withBallast(fileStorage, storeDirectory);
    const contents = openStoreDirectory({ storage, storeDirectory });
    logger.info(EventName.StoreOpened, { path: storeDirectory, count: contents.streams.length });
    return contents;
  } catch (thrown) {
    throw storeUnusable(storeDirectory, thrown);
  }
}

function openAuthentication({ authenticate, storeDirectory }: Settings, logger: Logger, parts: Parts): void {
  if (!authenticate) {
    const reason = "whoever reaches the port may do everything: STREAM_MANAGER_AUTHENTICATE_CLIENT is false";
    logger.warn(EventName.AuthenticationOff, { reason });
    return;
  }
  const platform = { random: systemRandom, clock: systemClock, timers: systemTimers };
  parts.tokens = new TokenKeeper({ storeDirectory, logger, ...platform });
}

function startBallast({ storeDirectory, diskFreeMinBytes }: Settings, logger: Logger): Ballast {
  const path = ballastPath(storeDirectory);
  const ballast = new Ballast({
    storage: fileStorage,
    storeDirectory,
    timers: systemTimers,
    freeBytesMin: diskFreeMinBytes,
    onGone: () =>
      logger.warn(EventName.BallastGone, { path, reason: "it was given up on a full disk, or removed" }),
    onMade: () => logger.info(EventName.BallastMade, { path }),
  });
  ballast.start();
  return ballast;
}

function startExports(
  settings: Settings,
  environment: Environment,
  { logger, parts, threads }: { logger: Logger; parts: Parts; threads: Threads },
): ExportManager {
  checkExportFiles(settings);
  return new ExportManager({
    clock: systemClock,
    random: systemRandom,
    storage: withBallast(fileStorage, settings.storeDirectory),
    storeDirectory: settings.storeDirectory,
    logger,
    threadPoolSize: settings.exportThreads,
    threadsMax: settings.exportWorkers,
    threads: threads.export,
    kbitPerSecondMax: settings.exportKbitPerSecondMax,
    onStatusChange: (streamId) => parts.engine?.onExportStatus(streamId),
    destinations: {
      kinesisInterCallDelayMs: settings.kinesisInterCallDelayMs,
      s3PartBytesMin: settings.s3PartBytesMin,
      readOnlyDirectories: settings.readOnlyDirectories,
      s3ForcePathStyle: [environment["AWS_ENDPOINT_URL_S3"], environment["AWS_ENDPOINT_URL"]].some(Boolean),
      iotCredentials: iotCredentialsOf(settings),
      authoritiesPath: settings.exportAuthorities,
      httpHeadersPath: settings.exportHttpHeaders,
      httpInward: settings.exportHttpInward,
      fileDirectories: settings.exportFileDirectories,
    },
    onGap: (streamId, sequence) => parts.engine?.onExportGap(streamId, sequence),
    appendNotice: ({ streamName, payload }) =>
      appendInternally(engineOf(parts), streamName, Buffer.from(payload)),
    keepAside: (request) => engineOf(parts).companions.keep(request),
    exportMap: parseExportMap(settings.exportMap),
    // What the AWS SDK's own chain reads.
    environment,
  });
}

/** All four are set, or none is. */
function iotCredentialsOf(settings: Settings): IotCredentialSettings | undefined {
  const { iotCredentialsEndpoint: endpoint, iotRoleAlias: roleAlias } = settings;
  const { iotCertificate: certificate, iotKey: key } = settings;
  const { iotAuthorities: authorities, iotThingName: thingName } = settings;
  if (!(endpoint && roleAlias && certificate && key)) return undefined;
  return { endpoint, roleAlias, certificate, key, authorities, thingName };
}

/** What export workers will read: the start says what cannot be used, and not the first export. @throws {MillraceError} INVALID_SETTING */
function checkExportFiles({ exportAuthorities, exportHttpHeaders }: Settings): void {
  if (exportAuthorities !== undefined) readAuthorities(exportAuthorities);
  if (exportHttpHeaders !== undefined) readHeadersFile(exportHttpHeaders);
}

/** Nothing is exported before it is there. */
function engineOf({ engine }: Parts): Engine {
  assert(engine !== undefined, "exports run while there is an engine");
  return engine;
}

function startWorkers(
  settings: Settings,
  parts: {
    logger: Logger;
    exports: ExportManager;
    threads: Threads;
    epoch: number;
    onStorageDelay: (delay: StorageDelay) => void;
  },
): Engine {
  const { storeDirectory, blockBytes } = settings;
  const { syncIntervalMs, syncBytes, commitAlignBytes, diskFreeMinBytes, memoryStreamBytesMax } = settings;
  const syncs = { syncIntervalMs, syncBytes, commitAlignBytes };
  const streamsIdentity = fileStorage.identify(`${storeDirectory}/streams`);
  const room = { diskFreeMinBytes, memoryStreamBytesMax };
  return new Engine({
    clock: systemClock,
    random: systemRandom,
    logger: parts.logger,
    storeDirectory,
    streamsMax: settings.streamsMax,
    messageBytesMax: settings.messageBytesMax,
    fileDirectories: settings.exportFileDirectories,
    workerCountMax: settings.workers,
    ringBytes: settings.ringBytes,
    platform: threadPlatform(parts.threads.stream),
    worker: { storeDirectory, streamsIdentity, epoch: parts.epoch, blockBytes, ...syncs, ...room },
    exports: parts.exports,
    disk: new DiskOutlook({
      clock: systemClock,
      freeBytes: () => fileStorage.freeBytes(storeDirectory),
      freeBytesMin: diskFreeMinBytes,
    }),
    onStorageDelay: parts.onStorageDelay,
    exportedEnd: (directory) => exportedEnd(fileStorage, directory),
  });
}

const STORAGE_DEGRADED = "storage-degraded";
const STORAGE_HUNG = "storage-hung";

/** While storage hangs, nothing this process says can be relied upon: it leaves the port until the device answers again. */
function storageDelayHandler(given: { health: Health; parts: Parts }): (delay: StorageDelay) => void {
  const { health, parts } = given;
  return (delay) => {
    if (delay >= StorageDelay.Degraded) health.degrade(STORAGE_DEGRADED);
    else health.restore(STORAGE_DEGRADED);
    if (delay === StorageDelay.Hung) {
      health.degrade(STORAGE_HUNG);
      parts.portPause?.begin();
      return;
    }
    health.restore(STORAGE_HUNG);
    parts.portPause?.end();
  };
}

function openPort(
  settings: Settings,
  {
    bindings,
    ...parts
  }: Pick<PortOptions, "handler" | "authenticator" | "health" | "metrics" | "logger"> & {
    readonly bindings: NativeBindings | undefined;
  },
): Promise<Port> {
  const { logger } = parts;
  const onRefused = (reason: string): void =>
    logger.warn(EventName.NativeRefused, { operation: "TCP_QUICKACK", reason });
  return listenPort({
    ...parts,
    ...(bindings && { acknowledgeNow: quickAcknowledgement(bindings, onRefused) }),
    ...tlsOptions(settings, logger),
    localSocket: localSocketOf(settings, logger),
    host: settings.host,
    port: settings.port,
    clock: systemClock,
    limits: {
      connectionsMax: settings.connectionsMax,
      connectionsPerAddressMax: settings.connectionsPerAddressMax,
      frameBytesMax: settings.messageBytesMax + FRAME_OVERHEAD_BYTES_MAX,
      shutdownDeadlineMs: settings.shutdownMs,
    },
    allowedHosts: settings.allowedHosts,
    allowedOrigins: settings.allowedOrigins,
    serverVersion: millraceVersion(),
    countDescriptors,
  });
}

function localSocketOf(settings: Settings, logger: Logger): PortOptions["localSocket"] {
  const { socketPath: path, socketGroup: group, socketAuthenticate: authenticate } = settings;
  if (path === undefined) return undefined;
  if (!authenticate) {
    const reason = "whoever may open the socket may do everything: MILLRACE_SOCKET_AUTHENTICATE is false";
    logger.warn(EventName.AuthenticationOff, { path, reason });
  }
  return { path, group, authenticate };
}

function tlsOptions(settings: Settings, logger: Logger): Pick<PortOptions, "tls"> {
  const { host, tlsCertificate: certificate, tlsKey: key, plainFrom } = settings;
  if (certificate !== undefined && key !== undefined) {
    return { tls: { paths: { certificate, key }, plainFrom, timers: systemTimers } };
  }
  if (!isLoopback(host)) {
    const reason =
      "tokens and messages can be read on the way: set MILLRACE_TLS_CERTIFICATE and MILLRACE_TLS_KEY";
    logger.warn(EventName.TlsMissing, { address: host, reason });
  }
  return {};
}
