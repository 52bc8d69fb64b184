import {
  changeExporterOptions,
  checkFileExports,
  type ExporterOptionsByIdentifier,
  type ExporterOptionsChange,
  type FileExportConfig,
  type FileExportInput,
} from "./exporter-options.ts";
import { SET_ASIDE_BYTES_MIN } from "./set-aside-limits.ts";
import {
  asRecord,
  changeFields,
  type FieldChecks,
  integerWithin,
  invalidOption,
  oneOf,
  shown,
} from "./option-fields.ts";

/** Millrace's own settings of a stream, beside the protocol's definition and stored with it. */
export interface StreamOptions {
  /** Free a segment once every enabled exporter has durably passed it, so that a rejecting stream drains. */
  readonly freeExported: boolean;
  /** Of its exporters, by identifier; not there while no exporter has any. */
  readonly exporters?: ExporterOptionsByIdentifier;
  /** Exporters that write to local files; not there while there are none. */
  readonly files?: readonly FileExportConfig[];
  /** Of the stream that takes what destinations will never take; not there while it is as by default. */
  readonly setAside?: SetAsideOptions;
  /** The name of the stream of which this one holds what was set aside. Never chosen by a client. */
  readonly companionOf?: string;
}

/** Of a companion stream. */
export interface SetAsideOptions {
  /** Bytes, as a definition's maxSize. */
  readonly maxSize?: number;
  /** Rejecting, nothing set aside is lost, and an export stands still when its companion is full. */
  readonly strategyOnFull?: "RejectNewData" | "OverwriteOldestData";
}

/** What a client may say to change them: what is not named stays. */
export interface StreamOptionsChange {
  readonly freeExported?: boolean;
  /** Of the exporters that are named; null takes back all options of one. */
  readonly exporters?: Readonly<Record<string, ExporterOptionsChange | null>>;
  /** The whole list. */
  readonly files?: readonly FileExportInput[];
  /** What it names changes; null, or null for a field, stands for the default. */
  readonly setAside?: { readonly [K in keyof SetAsideOptions]?: SetAsideOptions[K] | null } | null;
}

export const streamOptionsDefault: StreamOptions = { freeExported: false };

const WHAT = "stream options";

type Change = (base: StreamOptions, value: unknown) => StreamOptions;

const setAsideChecks: FieldChecks<SetAsideOptions> = {
  maxSize: integerWithin(SET_ASIDE_BYTES_MIN, Number.MAX_SAFE_INTEGER),
  strategyOnFull: oneOf(["RejectNewData", "OverwriteOldestData"]),
};

const changes: { readonly [K in keyof StreamOptionsChange]-?: Change } = {
  freeExported: (base, value) => {
    if (typeof value !== "boolean") {
      throw invalidOption(`${WHAT}: freeExported is ${shown(value)}, must be true or false`);
    }
    return { ...base, freeExported: value };
  },
  exporters: ({ exporters: before = {}, ...base }, value) => {
    const exporters = changeExporterOptions(before, value);
    return Object.keys(exporters).length === 0 ? base : { ...base, exporters };
  },
  files: (base, value) => {
    const options: { -readonly [K in keyof StreamOptions]: StreamOptions[K] } = {
      ...base,
      files: checkFileExports(value),
    };
    if (options.files?.length === 0) delete options.files;
    return options;
  },
  setAside: ({ setAside: before = {}, ...base }, value) => {
    const what = `${WHAT}: setAside`;
    const setAside = value === null ? {} : changeFields(before, value, { checks: setAsideChecks, what });
    return Object.keys(setAside).length === 0 ? base : { ...base, setAside };
  },
};

/**
 * `base` with what `wish` names. `wish` is whatever a client or a file said: `exporters` changes those that it names, `files`
 * stands for the whole list. @throws {MillraceError} INVALID_REQUEST naming the option, its value and what it takes
 */
export function changeStreamOptions(base: StreamOptions, wish: unknown): StreamOptions {
  let options = base;
  for (const [name, value] of Object.entries(asRecord(wish, WHAT))) {
    if (!Object.hasOwn(changes, name)) {
      const known = Object.keys(changes).join(", ");
      throw invalidOption(`${WHAT}: ${JSON.stringify(name.slice(0, 80))} is not known, only ${known}`);
    }
    options = changes[name as keyof StreamOptionsChange](options, value);
  }
  return options;
}

/** Of a stored stream: what a client may have said, and what the engine itself notes. @throws {MillraceError} INVALID_REQUEST */
export function readStoredOptions(stored: unknown): StreamOptions {
  const { companionOf, ...wish } = asRecord(stored, WHAT);
  const options = changeStreamOptions(streamOptionsDefault, wish);
  if (companionOf === undefined) return options;
  if (typeof companionOf === "string" && companionOf !== "") return { ...options, companionOf };
  throw invalidOption(`${WHAT}: companionOf is ${shown(companionOf)}, must be the name of a stream`);
}
