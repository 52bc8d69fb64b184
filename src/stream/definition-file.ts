import path from "node:path";

import { MillraceError, textOf } from "../core/errors.ts";
import { isJsonObject } from "../core/json-object.ts";
import {
  destinationKinds,
  Persistence,
  type StreamDefinition,
  StrategyOnFull,
} from "../core/stream-definition.ts";
import { type StreamOptions, readStoredOptions, streamOptionsDefault } from "../core/stream-options.ts";
import { readDurableFile, writeDurableFile } from "../log/durable-file.ts";
import type { Storage } from "../log/storage.ts";

/**
 * What is stored of a stream beside its messages: JSON inside a checked file,
 * `{"version":1,"streamId":"…","definition":{…},"options":{…}}`. The first files held the definition alone, and later ones no id.
 */
export interface StoredDefinition {
  readonly definition: StreamDefinition;
  readonly options: StreamOptions;
}

const VERSION = 1;

/** The definition of a stream lies beside its segments. */
export function definitionPath(directory: string): string {
  return `${directory}/definition`;
}

/** Of the stream whose directory it is for: its name is the stream's id. */
export function encodeDefinition({ definition, options }: StoredDefinition, directory: string): Uint8Array {
  const streamId = path.basename(directory);
  return Buffer.from(JSON.stringify({ version: VERSION, streamId, definition, options }));
}

/**
 * @throws {MillraceError} STORE_READ_ERROR for content that a checked file cannot have come by, or of a later version, or of
 * another stream than that of `directory`: under its name the messages of this one would be given out
 */
export function decodeDefinition(bytes: Uint8Array, directory: string): StoredDefinition {
  let stored: unknown;
  try {
    stored = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw unreadable("it is not JSON", { cause });
  }
  if (!isJsonObject(stored)) throw unreadable("it is not a JSON object");
  const { version, definition = version === undefined ? stored : undefined } = stored;
  if (version !== undefined && version !== VERSION) {
    throw unreadable(`it has version ${JSON.stringify(version)}, this engine knows ${VERSION}`);
  }
  const { streamId = path.basename(directory) } = stored;
  if (streamId !== path.basename(directory)) throw unreadable("it is that of another stream");
  if (!isDefinition(definition)) throw unreadable("it does not hold the fields of one");
  if (version === undefined) return { definition, options: streamOptionsDefault };
  try {
    // One that this version does not know may ask for messages to be kept that it would delete.
    return { definition, options: readStoredOptions(stored["options"] ?? {}) };
  } catch (cause) {
    throw unreadable(textOf(cause), { cause });
  }
}

/** Whether everything stands there that the engine relies on; that it was within its limits was checked when it came. */
function isDefinition(value: unknown): value is StreamDefinition {
  if (!isJsonObject(value)) return false;
  const { name, maxSize, streamSegmentSize, timeToLiveMillis, strategyOnFull, persistence, flushOnWrite } =
    value;
  const areSizes = [maxSize, streamSegmentSize, timeToLiveMillis ?? 1].every(
    (size) => Number.isInteger(size) && Number(size) > 0,
  );
  const areChoices =
    Object.values<unknown>(StrategyOnFull).includes(strategyOnFull) &&
    Object.values<unknown>(Persistence).includes(persistence);
  const isNamed = typeof name === "string" && name !== "";
  return (
    isNamed &&
    areSizes &&
    areChoices &&
    typeof flushOnWrite === "boolean" &&
    areExporters(value["exportDefinition"])
  );
}

function areExporters(value: unknown): boolean {
  if (!isJsonObject(value)) return false;
  return destinationKinds.every((kind) => {
    const configs = value[kind];
    return (
      Array.isArray(configs) &&
      configs.every((config) => isJsonObject(config) && typeof config["identifier"] === "string")
    );
  });
}

/** @throws {MillraceError} STORE_READ_ERROR when it is missing, damaged, or of a later version */
export function readDefinitionFile(storage: Storage, directory: string): StoredDefinition {
  const bytes = readDurableFile(storage, definitionPath(directory));
  if (bytes === "missing" || bytes === "damaged") throw unreadable(`it is ${bytes}`);
  return decodeDefinition(bytes, directory);
}

/**
 * Replaces the stored definition; on return the new one is durable.
 * @throws {MillraceError} STORAGE_READ_ONLY: the old one stands. UNKNOWN_OUTCOME: a power cut may bring the old one back
 */
export function replaceDefinitionFile(storage: Storage, directory: string, stored: StoredDefinition): void {
  const content = encodeDefinition(stored, directory);
  try {
    writeDurableFile(storage, definitionPath(directory), content);
  } catch (cause) {
    const { name } = stored.definition;
    // The new content may stand behind the name, and then nobody knows whether that is so on the medium.
    if (mayHold(storage, directory, content)) {
      const text = `Cannot tell whether the new definition of stream "${name}" is durable`;
      throw new MillraceError("UNKNOWN_OUTCOME", text, { cause });
    }
    const text = `Cannot store the new definition of stream "${name}": ${textOf(cause)}`;
    throw new MillraceError("STORAGE_READ_ONLY", text, { cause });
  }
}

function mayHold(storage: Storage, directory: string, content: Uint8Array): boolean {
  try {
    const found = readDurableFile(storage, definitionPath(directory));
    return typeof found !== "string" && found.equals(content);
  } catch {
    return true;
  }
}

function unreadable(what: string, options?: ErrorOptions): MillraceError {
  return new MillraceError("STORE_READ_ERROR", `Cannot read a stream definition: ${what}`, options);
}
