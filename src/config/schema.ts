import path from "node:path";
import {
  BLOCK_TARGET_BYTES,
  BLOCK_TARGET_BYTES_MIN,
  COMMIT_ALIGN_BYTES_DEFAULT,
  CONNECTIONS_MAX_DEFAULT,
  CONNECTIONS_MAX_MAX,
  CONNECTIONS_PER_ADDRESS_DEFAULT,
  DISK_FREE_BYTES_MAX,
  LZ4_BLOCK_RAW_BYTES_MAX,
  MEMORY_STREAM_BYTES_DEFAULT_MAX,
  MEMORY_STREAM_BYTES_MAX,
  MEMORY_STREAM_BYTES_MIN,
  MEMORY_STREAM_SHARE_DEFAULT,
  MESSAGE_BYTES_MAX_DEFAULT,
  MESSAGE_BYTES_MAX_MIN,
  PORT_DEFAULT,
  PORT_MAX,
  RING_BYTES_DEFAULT,
  RING_BYTES_MAX,
  RING_BYTES_MIN,
  SHUTDOWN_DEADLINE_MS,
  SHUTDOWN_MS_MAX,
  STREAMS_MAX_DEFAULT,
  STREAMS_MAX_MAX,
  SYNC_BYTES_DEFAULT,
  SYNC_BYTES_MIN,
  SYNC_BYTES_PER_WORKER_MAX,
  SYNC_INTERVAL_MS_DEFAULT,
  SYNC_INTERVAL_MS_MAX,
  SYNC_INTERVAL_MS_MIN,
} from "../core/limits.ts";
import {
  WORKER_HEAP_MIB_MAX,
  WORKER_HEAP_MIB_MIN,
  WORKERS_AUTO_MAX,
  WORKERS_MAX,
} from "../core/thread-limits.ts";
import { THREAD_CPUS_FORM } from "../core/thread-cpus.ts";
import { exportRows } from "./export-rows.ts";
import { profileNames } from "./profile-name.ts";
import {
  boolean,
  directory,
  file,
  host,
  integer,
  listOf,
  oneNumberOf,
  oneWordOf,
  powerOfTwo,
  text,
  textLike,
} from "./setting-kinds.ts";
import { computedRow, optionalRow, row, type Machine, type SettingRow } from "./setting-row.ts";

/** Every setting there is. The names that begin with STREAM_MANAGER_ are the stream manager's own. */
export const settingRows = {
  profile: row({
    env: "MILLRACE_PROFILE",
    kind: oneWordOf(profileNames),
    default: "standard",
    doc: "Defaults for a kind of machine: small is for 1 GB of memory and less",
  }),
  storeDirectory: computedRow({
    env: "STREAM_MANAGER_STORE_ROOT_DIR",
    kind: directory,
    doc: "Where the streams are stored. The engine makes it, readable by its user only",
    defaultFor: stateDirectory,
    defaultText: "$XDG_STATE_HOME/millrace, else ~/.local/state/millrace",
  }),
  host: row({
    env: "MILLRACE_HOST",
    kind: host,
    default: "127.0.0.1",
    doc: "Address to listen on. One that other machines can reach needs authentication, and should have TLS",
  }),
  port: row({
    env: "STREAM_MANAGER_SERVER_PORT",
    kind: integer({ min: 0, max: PORT_MAX }),
    default: PORT_DEFAULT,
    doc: "The one port of the stream manager protocol, WebSocket and HTTP; 0 takes any free one",
  }),
  authenticate: row({
    env: "STREAM_MANAGER_AUTHENTICATE_CLIENT",
    kind: boolean,
    default: true,
    doc: "Whether a client must present a token",
  }),
  unauthenticatedNetwork: row({
    env: "MILLRACE_UNAUTHENTICATED_NETWORK",
    kind: boolean,
    default: false,
    doc: "Insists on an address that other machines can reach without authentication: whoever reaches it may do everything",
  }),
  socketPath: optionalRow({
    env: "MILLRACE_SOCKET",
    kind: file,
    doc: "Path of a Unix socket to listen on beside the port, for the same protocols; for its user only, mode 600",
  }),
  socketGroup: optionalRow({
    env: "MILLRACE_SOCKET_GROUP",
    kind: text,
    doc: "Group, by name or number, that may use the Unix socket too; mode 660 then",
  }),
  socketAuthenticate: row({
    env: "MILLRACE_SOCKET_AUTHENTICATE",
    kind: boolean,
    default: true,
    doc: "Whether a client of the Unix socket must present a token; false lets whoever may open the file do everything",
  }),
  tlsCertificate: optionalRow({
    env: "MILLRACE_TLS_CERTIFICATE",
    kind: file,
    doc: "PEM file of the port's certificate and its chain; SIGHUP reads it again",
  }),
  tlsKey: optionalRow({
    env: "MILLRACE_TLS_KEY",
    kind: file,
    doc: "PEM file of the certificate's key, closed to others",
  }),
  plainFrom: row({
    env: "MILLRACE_PLAIN_FROM",
    kind: oneWordOf(["loopback", "nowhere", "anywhere"]),
    default: "loopback",
    doc: "Where clients may connect from without TLS once there is a certificate",
  }),
  tlsAuthorities: optionalRow({
    env: "MILLRACE_TLS_AUTHORITIES",
    kind: file,
    doc: "PEM file of the authorities that commands trust for wss://, instead of those Node.js knows",
  }),
  allowedHosts: row({
    env: "MILLRACE_ALLOWED_HOSTS",
    kind: listOf({ accepts: "host names separated by commas", matches: /^[^\s/,]+$/ }),
    default: [],
    doc: "Host headers that HTTP and WebSocket accept beside this machine's own names",
  }),
  allowedOrigins: row({
    env: "MILLRACE_ALLOWED_ORIGINS",
    kind: listOf({
      accepts: "origins such as https://panel.local separated by commas",
      matches: /^[a-z][a-z0-9+.-]*:\/\/[^\s/,]+$/i,
    }),
    default: [],
    doc: "Origins of web pages that may connect",
  }),
  connectionsMax: row({
    env: "MILLRACE_CONNECTIONS_MAX",
    kind: integer({ min: 1, max: CONNECTIONS_MAX_MAX }),
    default: CONNECTIONS_MAX_DEFAULT,
    doc: "Most connections at a time",
  }),
  connectionsPerAddressMax: row({
    env: "MILLRACE_CONNECTIONS_PER_ADDRESS_MAX",
    kind: integer({ min: 1, max: CONNECTIONS_MAX_MAX }),
    default: CONNECTIONS_PER_ADDRESS_DEFAULT,
    doc: "Most connections at a time from one address of another machine",
  }),
  messageBytesMax: row({
    env: "MILLRACE_MESSAGE_BYTES_MAX",
    kind: integer({ min: MESSAGE_BYTES_MAX_MIN, max: MESSAGE_BYTES_MAX_DEFAULT }),
    default: MESSAGE_BYTES_MAX_DEFAULT,
    unit: "bytes",
    doc: "Largest message that is accepted",
  }),
  streamsMax: row({
    env: "MILLRACE_STREAMS_MAX",
    kind: integer({ min: 1, max: STREAMS_MAX_MAX }),
    default: STREAMS_MAX_DEFAULT,
    doc: "Most streams that may exist",
  }),
  workers: computedRow({
    env: "MILLRACE_WORKERS",
    kind: integer({ min: 1, max: WORKERS_MAX }),
    doc: "Threads that write streams",
    defaultFor: ({ cores }) => Math.min(WORKERS_AUTO_MAX, Math.max(1, Math.floor(cores / 2))),
    defaultText: "auto: half the cores, 1 to 4",
    automatic: "auto",
  }),
  ringBytes: row({
    env: "MILLRACE_RING_BYTES",
    kind: powerOfTwo({ min: RING_BYTES_MIN, max: RING_BYTES_MAX }),
    default: RING_BYTES_DEFAULT,
    unit: "bytes",
    doc: "Size of each ring between the sockets and a stream worker",
  }),
  blockBytes: row({
    env: "MILLRACE_BLOCK_BYTES",
    kind: integer({ min: BLOCK_TARGET_BYTES_MIN, max: LZ4_BLOCK_RAW_BYTES_MAX }),
    default: BLOCK_TARGET_BYTES,
    unit: "bytes",
    doc: "Raw size at which a block is compressed and written, when that much has arrived",
  }),
  syncIntervalMs: row({
    env: "MILLRACE_SYNC_INTERVAL_MS",
    kind: integer({ min: SYNC_INTERVAL_MS_MIN, max: SYNC_INTERVAL_MS_MAX }),
    default: SYNC_INTERVAL_MS_DEFAULT,
    unit: "ms",
    doc: "Longest time a stream without flushOnWrite goes without a sync",
  }),
  syncBytes: row({
    env: "MILLRACE_SYNC_BYTES",
    kind: integer({ min: SYNC_BYTES_MIN, max: SYNC_BYTES_PER_WORKER_MAX }),
    default: SYNC_BYTES_DEFAULT,
    unit: "bytes",
    doc: "Most bytes a stream without flushOnWrite writes without a sync",
  }),
  commitAlignBytes: row({
    env: "MILLRACE_COMMIT_ALIGN_BYTES",
    kind: oneNumberOf([0, 512, COMMIT_ALIGN_BYTES_DEFAULT]),
    default: COMMIT_ALIGN_BYTES_DEFAULT,
    unit: "bytes",
    doc: "What a sync makes durable ends at a multiple of this, so that a later write cannot tear it; 0 does not pad",
  }),
  diskFreeMinBytes: row({
    env: "MILLRACE_DISK_FREE_MIN_BYTES",
    kind: integer({ min: 0, max: DISK_FREE_BYTES_MAX }),
    default: 0,
    unit: "bytes",
    doc: "Kept free on the disk of the store: below it streams behave as full; 0 keeps nothing",
  }),
  heapGrowth: row({
    env: "MILLRACE_HEAP_GROWTH",
    kind: boolean,
    default: true,
    doc: "Whether garbage may gather up to 600 MB under full load, which saves CPU; only with 4 GiB of memory and more",
  }),
  workerHeapMib: optionalRow({
    env: "MILLRACE_WORKER_HEAP_MIB",
    kind: integer({ min: WORKER_HEAP_MIB_MIN, max: WORKER_HEAP_MIB_MAX }),
    unit: "MiB",
    doc: "Most heap of a worker thread, beside which messages lie; one that needs more is replaced",
  }),
  memoryStreamBytesMax: computedRow({
    env: "MILLRACE_MEMORY_STREAM_BYTES_MAX",
    kind: integer({ min: MEMORY_STREAM_BYTES_MIN, max: MEMORY_STREAM_BYTES_MAX }),
    unit: "bytes",
    doc: "Most memory that all streams in memory may take together; beyond it they are full",
    defaultFor: ({ memoryBytes }) =>
      Math.max(
        MEMORY_STREAM_BYTES_MIN,
        Math.min(MEMORY_STREAM_BYTES_DEFAULT_MAX, Math.floor(memoryBytes * MEMORY_STREAM_SHARE_DEFAULT)),
      ),
    defaultText: "auto: a quarter of the memory, at most 1 GiB",
    automatic: "auto",
  }),
  threadCpus: optionalRow({
    env: "MILLRACE_THREAD_CPUS",
    kind: textLike({ accepts: THREAD_CPUS_FORM, matches: /=/ }),
    doc: "Pins threads to CPUs, by the native addon: the main thread, stream workers, export workers; others run anywhere",
  }),
  nativeBindings: row({
    env: "MILLRACE_NATIVE_BINDINGS",
    kind: boolean,
    default: true,
    doc: "Whether the native addon is used where it was built",
  }),
  crashDumps: row({
    env: "MILLRACE_CRASH_DUMPS",
    kind: boolean,
    default: false,
    doc: "Whether a crash may leave what was in memory, payloads and credentials, in core dumps and Node.js reports",
  }),
  shutdownMs: row({
    env: "MILLRACE_SHUTDOWN_MS",
    kind: integer({ min: 0, max: SHUTDOWN_MS_MAX }),
    default: SHUTDOWN_DEADLINE_MS,
    unit: "ms",
    doc: "Longest time a clean stop may take",
  }),
  logLevel: row({
    env: "LOG_LEVEL",
    kind: oneWordOf(["TRACE", "DEBUG", "INFO", "WARN", "ERROR"]),
    default: "INFO",
    doc: "Least level that is logged",
  }),
  ...exportRows,
  jvmArguments: optionalRow({
    env: "JVM_ARGS",
    kind: text,
    doc: "Taken, so that an existing configuration works as it is",
    unused: "there is no JVM",
  }),
} as const satisfies Record<string, SettingRow<unknown, unknown>>;

export type SettingKey = keyof typeof settingRows;

type ValueOf<R> = R extends SettingRow<infer T, infer D> ? T | D : never;

/** All settings, checked. */
export type Settings = { readonly [K in SettingKey]: ValueOf<(typeof settingRows)[K]> };

export const settingKeys = Object.keys(settingRows) as SettingKey[];

/** The row of a setting, without its exact type. */
export function rowOf(key: SettingKey): SettingRow<unknown, unknown> {
  return settingRows[key];
}

/** `--store-directory` for `storeDirectory`. */
export function flagOf(key: SettingKey): string {
  return `--${words(key, "-")}`;
}

/** `store_directory` for `storeDirectory`: the key in a settings file. */
export function fileKeyOf(key: SettingKey): string {
  return words(key, "_");
}

function words(key: string, separator: string): string {
  return key.replace(/[A-Z]/g, (letter) => separator + letter.toLowerCase());
}

/** The XDG base directory rule: a relative XDG_STATE_HOME is ignored. */
function stateDirectory({ env, homeDirectory }: Machine): string {
  const stateHome = env["XDG_STATE_HOME"];
  const base =
    stateHome !== undefined && path.isAbsolute(stateHome)
      ? stateHome
      : path.join(homeDirectory, ".local", "state");
  return path.join(base, "millrace");
}
