import { createRequire } from "node:module";
import type * as Pino from "pino";
import { type Clock, systemClock } from "../core/clock.ts";
import { asMillraceError } from "../core/errors.ts";
import type { EventName } from "./events.ts";
import { LineAllowance } from "./line-allowance.ts";

/** The levels of `LOG_LEVEL`, least important first. */
export const LogLevel = {
  TRACE: "TRACE",
  DEBUG: "DEBUG",
  INFO: "INFO",
  WARN: "WARN",
  ERROR: "ERROR",
} as const;
export type LogLevel = (typeof LogLevel)[keyof typeof LogLevel];

const requireNow = createRequire(import.meta.url);

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
  /** A stream that takes messages of `stream`. */
  readonly into?: string;
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
  /** Lines of the same event that were left out before this one: there were too many. */
  readonly omitted?: number;
}

const fieldNames = [
  "stream",
  "streamId",
  "exporter",
  "into",
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
  "omitted",
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
  /** By which lines that strangers cause are bounded. */
  readonly clock?: Clock;
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

/** The name of a level in pino, and of the method that writes at it. */
function pinoName(level: LogLevel): Lowercase<LogLevel> {
  return level.toLowerCase() as Lowercase<LogLevel>;
}

class LineLogger implements Logger {
  readonly #level: LogLevel;
  readonly #destination: Pino.DestinationStream | undefined;
  readonly #allowance: LineAllowance;
  #pino: Pino.Logger | undefined;

  constructor(options: LoggerOptions) {
    this.#level = options.level;
    this.#destination = options.destination;
    this.#allowance = new LineAllowance(options.clock ?? systemClock);
  }

  isEnabled(level: LogLevel): boolean {
    return levelNumbers[level] >= levelNumbers[this.#level];
  }

  trace(event: EventName, fields?: LogFields): void {
    this.#write("TRACE", event, fields);
  }

  debug(event: EventName, fields?: LogFields): void {
    this.#write("DEBUG", event, fields);
  }

  info(event: EventName, fields?: LogFields): void {
    this.#write("INFO", event, fields);
  }

  warn(event: EventName, fields?: LogFields, error?: unknown): void {
    this.#write("WARN", event, fields, error);
  }

  error(event: EventName, fields?: LogFields, error?: unknown): void {
    this.#write("ERROR", event, fields, error);
  }

  #write(level: LogLevel, event: EventName, fields?: LogFields, error?: unknown): void {
    if (!this.isEnabled(level)) return;
    const omitted = this.#allowance.take(event);
    if (omitted === undefined) return;
    const line = lineOf(event, omitted === 0 ? fields : { ...fields, omitted }, error);
    const sink = this.#sink();
    if (sink === undefined) this.#writeAlone(level, line);
    else sink[pinoName(level)](line);
  }

  /**
   * pino costs 7.7 MiB of memory, so a process that has nothing to say at its level never loads it.
   * @returns undefined when it cannot be loaded now, for want of descriptors or memory: the moment in which there is something to say
   */
  #sink(): Pino.Logger | undefined {
    if (this.#pino !== undefined) return this.#pino;
    try {
      const { pino } = requireNow("pino") as typeof Pino;
      const destination = this.#destination ?? pino.destination({ fd: 2, sync: true });
      this.#pino = pino(
        {
          level: pinoName(this.#level),
          base: null,
          timestamp: pino.stdTimeFunctions.isoTime,
          formatters: { level: (label) => ({ level: label.toUpperCase() }) },
        },
        destination,
      );
      return this.#pino;
    } catch {
      return undefined;
    }
  }

  #writeAlone(level: LogLevel, line: Record<string, unknown>): void {
    const text = `${JSON.stringify({ level, time: new Date(systemClock.nowMs()).toISOString(), ...line })}\n`;
    if (this.#destination === undefined) process.stderr.write(text);
    else this.#destination.write(text);
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
