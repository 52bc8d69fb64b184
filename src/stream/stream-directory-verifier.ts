import path from "node:path";

import { Persistence, type StreamDefinition } from "../core/stream-definition.ts";
import { readDurableFile, TEMPORARY_SUFFIX } from "../log/durable-file.ts";
import { FindingList } from "../log/findings.ts";
import { LEDGER_NAME, LedgerFile, ownRecord } from "../log/ledger-file.ts";
import { readProducers } from "../log/producers-file.ts";
import { parseSegmentName } from "../log/segment-layout.ts";
import type { Storage } from "../log/storage.ts";
import { streamSeed } from "../log/stream-seed.ts";
import { EMPTY_CONTENTS, type StreamContents, verifySegments } from "../log/stream-verifier.ts";
import { decodeDefinition, definitionPath } from "./definition-file.ts";
import type { DirectoryCheck } from "./directory-check.ts";

export interface NamedStream {
  readonly streamId: string;
  /** Undefined when the definition cannot be read. */
  readonly name: string | undefined;
}

/** A stream that is to be verified. */
export interface StreamPlan extends NamedStream {
  readonly directory: string;
  readonly definition: StreamDefinition | "missing" | "damaged";
}

export interface CursorPlace {
  readonly streamDirectory: string;
  readonly exporterId: string;
}

export interface CursorVerdict {
  /** Messages below were durable once; 0 shows nothing. */
  readonly provenEndSequence: number;
  readonly problem?:
    { readonly severity: "damage" | "torn" | "unreadable"; readonly text: string } | undefined;
}

export interface StreamVerifierOptions {
  readonly storage: Storage;
  readonly storeDirectory: string;
  readonly isLive: boolean;
  readonly check: DirectoryCheck;
  /** What export/ knows of its files: what is wrong with the cursor of an exporter, and what it proves. */
  readonly checkCursor: (place: CursorPlace) => CursorVerdict;
}

export interface StreamVerdict extends NamedStream {
  readonly persistence: Persistence | undefined;
  readonly contents: StreamContents;
  readonly findings: FindingList;
}

const DIRECTORIES = /^exporters$/;
const SET_ASIDE = /\.lz4\.damaged$/;
const CURSOR_SUFFIX = ".cursor";
/** What an exporter keeps beside its cursor, and what follows from its loss. */
const KEPT_SUFFIXES: Readonly<Record<string, string>> = {
  ".upload": "an upload that was under way begins again",
  ".files": "files that grow are completed by the next batch only",
};
const CUT_SHORT = "a write that was cut short; what it was to replace still holds";

/** Reads the definition of a stream. */
export function planStream(
  storage: Storage,
  { streamId, directory }: { readonly streamId: string; readonly directory: string },
): StreamPlan {
  const definition = readDefinition(storage, directory);
  return {
    streamId,
    directory,
    definition,
    name: typeof definition === "string" ? undefined : definition.name,
  };
}

function readDefinition(storage: Storage, directory: string): StreamPlan["definition"] {
  const bytes = readDurableFile(storage, definitionPath(directory));
  if (typeof bytes === "string") return bytes;
  try {
    return decodeDefinition(bytes, directory).definition;
  } catch {
    return "damaged";
  }
}

/** Checks all that lies in a stream's directory. Yields the bytes of segments gone through since the last time. */
export function* verifyStreamDirectory(
  plan: StreamPlan,
  options: StreamVerifierOptions,
): Generator<number, StreamVerdict, undefined> {
  const { streamId, name, directory, definition } = plan;
  const findings = new FindingList();
  const place = path.join("streams", streamId);
  const persistence = typeof definition === "string" ? undefined : definition.persistence;
  // Before the log: what this proves was in there then.
  const proven = new EntryCheck({ ...options, plan, place, findings }).run();
  let contents: StreamContents = EMPTY_CONTENTS;
  if (persistence !== Persistence.Memory) {
    const { storage, isLive } = options;
    const id = Buffer.from(streamId, "hex");
    contents = yield* verifySegments({ storage, directory, path: place, streamId: id, isLive, findings });
    if (proven > contents.nextSequence) {
      const range = { fromSequence: contents.nextSequence, toSequence: proven };
      const text =
        "these messages were durable (an exporter had them, or the ledger or the file of producers tells), and the log ends before them";
      findings.add({ severity: "damage", path: place, ...range, text });
    }
  }
  return { streamId, name, persistence, contents, findings };
}

class EntryCheck {
  readonly #options: StreamVerifierOptions;
  readonly #plan: StreamPlan;
  readonly #place: string;
  readonly #findings: FindingList;
  readonly #check: ReturnType<DirectoryCheck["entry"]>;
  #provenEndSequence = 0;

  constructor(
    options: StreamVerifierOptions & {
      readonly plan: StreamPlan;
      /** As findings name it. */
      readonly place: string;
      readonly findings: FindingList;
    },
  ) {
    this.#options = options;
    this.#plan = options.plan;
    this.#place = options.place;
    this.#findings = options.findings;
    this.#check = options.check.entry(options.findings);
  }

  /** @returns up to where other files show that messages were durable */
  run(): number {
    const { directory, definition } = this.#plan;
    const entries = this.#options.storage.list(directory);
    for (const { name } of entries) this.#checkEntry(name);
    if (definition === "damaged") {
      const text = "cannot be read, so that the stream is not served; its segments are left as they are";
      this.#findings.add({ severity: "damage", path: path.join(this.#place, "definition"), text });
    } else if (definition === "missing") {
      this.#sayUnfinished(entries.every(({ name }) => name === `definition${TEMPORARY_SUFFIX}`));
    }
    return this.#provenEndSequence;
  }

  #sayUnfinished(isHalfMade: boolean): void {
    const path = this.#place;
    if (!isHalfMade) {
      const text = "has no definition, so that the stream is not served; its segments are left as they are";
      this.#findings.add({ severity: "damage", path, text });
    } else if (!this.#options.isLive) {
      const text = "a stream that was never finished, which the next start removes";
      this.#findings.add({ severity: "torn", path, text });
    }
  }

  #checkEntry(name: string): void {
    const { definition } = this.#plan;
    const findings = this.#findings;
    const place = path.join(this.#place, name);
    const isMemory = typeof definition !== "string" && definition.persistence === Persistence.Memory;
    if (parseSegmentName(name) !== undefined && isMemory) {
      findings.add({ severity: "foreign", path: place, text: "a segment in a stream that lives in memory" });
    } else if (parseSegmentName(name) !== undefined || name === "definition") {
      this.#check(place, "file");
    } else if (name === "producers") {
      if (this.#check(place, "file")) this.#checkProducers(place);
    } else if (name === LEDGER_NAME) {
      if (this.#check(place, "file")) this.#checkLedger(place);
    } else if (DIRECTORIES.test(name)) {
      if (this.#check(place, "directory")) this.#checkExporters(place);
    } else if (SET_ASIDE.test(name)) {
      findings.add({ severity: "note", path: place, text: "a damaged segment that a start has set aside" });
    } else if (name.endsWith(TEMPORARY_SUFFIX)) {
      // Those of segments are said where segments are chosen.
      if (!this.#options.isLive && !name.includes(".lz4")) {
        findings.add({ severity: "torn", path: place, text: CUT_SHORT });
      }
    } else findings.add({ severity: "foreign", path: place, text: "no file of a stream" });
  }

  #checkProducers(place: string): void {
    const producers = readProducers(this.#options.storage, this.#plan.directory);
    // An engine may have given it up this moment.
    if (producers === "missing") return;
    if (producers !== "damaged") {
      this.#provenEndSequence = Math.max(this.#provenEndSequence, producers.endSequence);
      return;
    }
    const text =
      "cannot be read, or is another stream's: of batches that producers may send again, only those in block headers are known";
    this.#findings.add({ severity: "damage", path: place, text });
  }

  #checkLedger(place: string): void {
    const found = new LedgerFile(this.#options.storage, this.#plan.directory).read();
    if (found === "missing") return;
    const record = ownRecord(found, Buffer.from(this.#plan.streamId, "hex"));
    if (record !== undefined) {
      this.#provenEndSequence = Math.max(this.#provenEndSequence, record.knownEnd.sequence);
      return;
    }
    const text = "cannot be read, or is another stream's: what was deleted is counted anew, as missing";
    this.#findings.add({ severity: "damage", path: place, text });
  }

  #checkKept(place: string, loss: string): void {
    const { storage, storeDirectory } = this.#options;
    const filePath = path.join(storeDirectory, place);
    if (readDurableFile(storage, filePath, streamSeed(this.#plan.directory)) !== "damaged") return;
    const text = `cannot be read, or is another stream's: ${loss}`;
    this.#findings.add({ severity: "damage", path: place, text });
  }

  #checkExporters(directory: string): void {
    const { storage, storeDirectory, checkCursor, isLive } = this.#options;
    const findings = this.#findings;
    for (const { name } of storage.list(path.join(storeDirectory, directory))) {
      const place = path.join(directory, name);
      const loss = KEPT_SUFFIXES[path.extname(name)];
      if (name.endsWith(CURSOR_SUFFIX)) {
        if (!this.#check(place, "file")) continue;
        const exporterId = name.slice(0, -CURSOR_SUFFIX.length);
        const verdict = checkCursor({ streamDirectory: this.#plan.directory, exporterId });
        this.#provenEndSequence = Math.max(this.#provenEndSequence, verdict.provenEndSequence);
        if (verdict.problem !== undefined) findings.add({ path: place, ...verdict.problem });
      } else if (loss !== undefined) {
        if (this.#check(place, "file")) this.#checkKept(place, loss);
      } else if (!name.endsWith(TEMPORARY_SUFFIX)) {
        findings.add({ severity: "foreign", path: place, text: "no file of an exporter" });
      } else if (!isLive) findings.add({ severity: "torn", path: place, text: CUT_SHORT });
    }
  }
}
