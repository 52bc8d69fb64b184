import { createRequire } from "node:module";
import type * as Pino from "pino";
import { asMillraceError } from "../core/errors.ts";
import type { EventName } from "./events.ts";

/** The levels of `LOG_LEVEL`, least important first. */
export const LogLevel = {
  TRACE: "TRACE",
  DEBUG: "DEBUG",
  INFO: "INFO",
  WARN: "WARN",
  ERROR: "ERROR",
} as const;
export type LogLevel = (typeof LogLevel)[keyof typeof LogLevel];

const levelNumbers = { TRACE: 10, DEBUG: 20, INFO: 30, WARN: 40, ERROR: 50 } as const satisfies Record<
  LogLevel,
  number
>;

/**
 * Every field a line may carry. The list is what keeps payloads, tokens, headers and URLs out of the logs: there is no key
 * for them, and values of these keys are names, numbers and codes.
 */
export interface LogFields {
  readonly stream?: string;
  readonly streamId?: string;
  readonly exporter?: string;
  readonly destination?: string;
  readonly worker?: number;
  readonly session?: number;
  readonly transport?: string;
  readonly peer?: string;
  readonly principal?: string;
  readonly address?: string;
  readonly port?: number;
  readonly operation?: string;
  readonly status?: number;
  readonly reason?: string;
  readonly setting?: string;
  readonly version?: string;
  readonly pid?: number;
  readonly path?: string;
  readonly segment?: string;
  readonly sequence?: number;
  readonly count?: number;
  readonly limit?: number;
  readonly sizeBytes?: number;
  readonly durationMs?: number;
  readonly attempt?: number;
  readonly delayMs?: number;
}

const fieldNames = [
  "stream",
  "streamId",
  "exporter",
  "destination",
  "worker",
  "session",
  "transport",
  "peer",
  "principal",
  "address",
  "port",
  "operation",
  "status",
  "reason",
  "setting",
  "version",
  "pid",
  "path",
  "segment",
  "sequence",
  "count",
  "limit",
  "sizeBytes",
  "durationMs",
  "attempt",
  "delayMs",
] as const satisfies readonly (keyof LogFields)[];

/** One line per call. `error` adds its code and message, never its other properties: a URL error keeps the whole URL in one. */
export interface Logger {
  isEnabled(level: LogLevel): boolean;
  trace(event: EventName, fields?: LogFields): void;
  debug(event: EventName, fields?: LogFields): void;
  info(event: EventName, fields?: LogFields): void;
  warn(event: EventName, fields?: LogFields, error?: unknown): void;
  error(event: EventName, fields?: LogFields, error?: unknown): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Where lines go; standard error by default, since standard output is for what a command prints. */
  readonly destination?: Pino.DestinationStream;
}

/** JSON lines, one per event, written before the call returns, so that the last line before a crash is there. */
export function createLogger(options: LoggerOptions): Logger {
  return new LineLogger(options);
}

export const silentLogger: Logger = {
  isEnabled: () => false,
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

class LineLogger implements Logger {
  readonly #level: LogLevel;
  readonly #destination: Pino.DestinationStream | undefined;
  #pino: Pino.Logger | undefined;

  constructor(options: LoggerOptions) {
    this.#level = options.level;
    this.#destination = options.destination;
  }

  isEnabled(level: LogLevel): boolean {
    return levelNumbers[level] >= levelNumbers[this.#level];
  }

  trace(event: EventName, fields?: LogFields): void {
    if (this.isEnabled("TRACE")) this.#sink().trace(lineOf(event, fields));
  }

  debug(event: EventName, fields?: LogFields): void {
    if (this.isEnabled("DEBUG")) this.#sink().debug(lineOf(event, fields));
  }

  info(event: EventName, fields?: LogFields): void {
    if (this.isEnabled("INFO")) this.#sink().info(lineOf(event, fields));
  }

  warn(event: EventName, fields?: LogFields, error?: unknown): void {
    if (this.isEnabled("WARN")) this.#sink().warn(lineOf(event, fields, error));
  }

  error(event: EventName, fields?: LogFields, error?: unknown): void {
    if (this.isEnabled("ERROR")) this.#sink().error(lineOf(event, fields, error));
  }

  /** pino costs 7.7 MiB of memory, so a process that has nothing to say at its level never loads it. */
  #sink(): Pino.Logger {
    if (this.#pino !== undefined) return this.#pino;
    const { pino } = createRequire(import.meta.url)("pino") as typeof Pino;
    const destination = this.#destination ?? pino.destination({ fd: 2, sync: true });
    this.#pino = pino(
      {
        level: this.#level.toLowerCase(),
        base: null,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label.toUpperCase() }) },
      },
      destination,
    );
    return this.#pino;
  }
}

/** Copies the known fields only: a wider object that a caller passes by accident leaves nothing behind. */
function lineOf(event: EventName, fields: LogFields | undefined, error?: unknown): Record<string, unknown> {
  const line: Record<string, unknown> = { event };
  if (fields !== undefined) {
    for (const name of fieldNames) {
      if (fields[name] !== undefined) line[name] = fields[name];
    }
  }
  if (error !== undefined) {
    const known = asMillraceError(error);
    line["code"] = known.code;
    line["error"] = known.message;
  }
  return line;
}
