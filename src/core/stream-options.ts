import {
  changeExporterOptions,
  checkFileExports,
  type ExporterOptionsByIdentifier,
  type ExporterOptionsChange,
  type FileExportConfig,
  type FileExportInput,
} from "./exporter-options.ts";
import { asRecord, invalidOption, shown } from "./option-fields.ts";

/** Millrace's own settings of a stream, beside the protocol's definition and stored with it. */
export interface StreamOptions {
  /** Free a segment once every enabled exporter has durably passed it, so that a rejecting stream drains. */
  readonly freeExported: boolean;
  /** Of its exporters, by identifier; not there while no exporter has any. */
  readonly exporters?: ExporterOptionsByIdentifier;
  /** Exporters that write to local files; not there while there are none. */
  readonly files?: readonly FileExportConfig[];
}

/** What a client may say to change them: what is not named stays. */
export interface StreamOptionsChange {
  readonly freeExported?: boolean;
  /** Of the exporters that are named; null takes back all options of one. */
  readonly exporters?: Readonly<Record<string, ExporterOptionsChange | null>>;
  /** The whole list. */
  readonly files?: readonly FileExportInput[];
}

export const streamOptionsDefault: StreamOptions = { freeExported: false };

const WHAT = "stream options";

type Change = (base: StreamOptions, value: unknown) => StreamOptions;

const changes: { readonly [K in keyof StreamOptions]-?: Change } = {
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
  files: ({ freeExported, exporters }, value) => {
    const files = checkFileExports(value);
    return {
      freeExported,
      ...(exporters === undefined ? {} : { exporters }),
      ...(files.length === 0 ? {} : { files }),
    };
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
    options = changes[name as keyof StreamOptions](options, value);
  }
  return options;
}
