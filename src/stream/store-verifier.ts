import path from "node:path";

import { systemCode } from "../core/errors.ts";
import { FindingList } from "../log/findings.ts";
import { isPieceName } from "../log/quarantine.ts";
import { parseSegmentName } from "../log/segment-layout.ts";
import type { FileFacts, Storage, StorageEntry } from "../log/storage.ts";
import { DirectoryCheck } from "./directory-check.ts";
import { readEpoch } from "./store-epoch.ts";
import { readStoreFormat } from "./store-format.ts";
import {
  type CursorPlace,
  type CursorVerdict,
  type NamedStream,
  planStream,
  type StreamPlan,
  type StreamVerdict,
  verifyStreamDirectory,
} from "./stream-directory-verifier.ts";

export interface StoreVerifierOptions {
  readonly storage: Storage;
  readonly lookAt: (filePath: string) => FileFacts;
  readonly storeDirectory: string;
  /** An engine runs on it: files come and go, and the newest segments grow. */
  readonly isLive: boolean;
  /** Which streams to verify; undefined: all. */
  readonly isWanted?: ((stream: NamedStream) => boolean) | undefined;
  /** What export/ knows of its files: what is wrong with the cursor of an exporter, and what it proves. */
  readonly checkCursor: (place: CursorPlace) => CursorVerdict;
}

export interface StoreVerdict {
  /** Of the format file; undefined when it says nothing. */
  readonly format: number | undefined;
  /** Starts that were counted; undefined when that cannot be read. */
  readonly epoch: number | undefined;
  /** Of the store's own files. */
  readonly findings: FindingList;
  readonly streams: readonly StreamVerdict[];
}

export interface VerifyProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  readonly label: string;
}

/** The names that a store's directory may hold beside `streams`. */
const STORE_FILES = /^(format|epoch|token|ballast)$/;
const STORE_SOCKETS = /^(lock-\d+|claim-[0-9a-f]+)\.sock$/;
const STORE_DIRECTORIES = /^(streams|quarantine|tokens|left-files)$/;
const QUARANTINE = "quarantine";
/** What a process that was killed may have left. */
const STORE_LEFTOVERS =
  /^((format|epoch|ballast)\.tmp|\.new-[0-9a-f]+|doctor-[0-9a-f]+\.tmp|tune-\d+-[0-9a-f]+\.tmp)$/;
const TOKEN_LEFTOVER = /^\.new-[0-9a-f]+$/;
const STREAM_ID = /^[0-9a-f]{32}$/;

/**
 * Reads and checks everything in a store, and changes nothing. Memory is bounded by the number of streams and the segments of
 * one. The store has a format that this version knows. @throws the system's error when the store cannot be listed at all
 */
export function* verifyStore(
  options: StoreVerifierOptions,
): Generator<VerifyProgress, StoreVerdict, undefined> {
  return yield* new StoreVerifier(options).verify();
}

class StoreVerifier {
  readonly #options: StoreVerifierOptions;
  readonly #findings = new FindingList();
  readonly #check: DirectoryCheck;
  #doneBytes = 0;
  #totalBytes = 0;

  constructor(options: StoreVerifierOptions) {
    this.#options = options;
    this.#check = new DirectoryCheck(options);
  }

  *verify(): Generator<VerifyProgress, StoreVerdict, undefined> {
    const { storage, storeDirectory, isWanted = () => true } = this.#options;
    const findings = this.#findings;
    this.#check.root(findings);
    for (const { name, kind } of storage.list(storeDirectory)) this.#checkStoreEntry(name, kind);
    this.#checkTokens();
    this.#checkQuarantine();
    const plans = this.#planStreams().filter(isWanted);
    for (const { directory } of plans) this.#totalBytes += this.#segmentBytes(directory);
    const streams: StreamVerdict[] = [];
    for (const plan of plans) {
      const verdict = yield* this.#verifyStream(plan);
      if (verdict !== undefined) streams.push(verdict);
    }
    this.#checkNames(streams);
    const format = readStoreFormat(storage, storeDirectory);
    const isDamaged = format === "damaged";
    if (isDamaged)
      findings.add({
        severity: "damage",
        path: "format",
        text: "says no format; the store is taken for one of this version",
      });
    return {
      format: typeof format === "string" ? undefined : format.format,
      epoch: this.#readEpoch(),
      findings,
      streams,
    };
  }

  #checkStoreEntry(name: string, kind: string): void {
    const check = this.#check.entry(this.#findings);
    if (STORE_FILES.test(name)) check(name, "file");
    else if (STORE_SOCKETS.test(name)) check(name, "socket");
    else if (STORE_DIRECTORIES.test(name)) check(name, "directory");
    else if (!STORE_LEFTOVERS.test(name)) {
      this.#findings.add({ severity: "foreign", path: name, text: `a ${kind} that no store has` });
    } else if (!this.#options.isLive) {
      this.#findings.add({ severity: "torn", path: name, text: "left behind by a process that was killed" });
    }
  }

  /** Who may touch them; what they say is the engine's to judge, at each change. */
  #checkTokens(): void {
    const { storage, storeDirectory, isLive } = this.#options;
    const check = this.#check.entry(this.#findings);
    for (const { name } of listIfThere(storage, path.join(storeDirectory, "tokens"))) {
      const place = path.join("tokens", name);
      if (!TOKEN_LEFTOVER.test(name)) check(place, "file");
      else if (!isLive) {
        this.#findings.add({
          severity: "torn",
          path: place,
          text: "left behind by a command that was killed",
        });
      }
    }
  }

  /** What starts have cut off or written over, for people to look at. */
  #checkQuarantine(): void {
    const { storage, storeDirectory } = this.#options;
    const check = this.#check.entry(this.#findings);
    for (const { name } of listIfThere(storage, path.join(storeDirectory, QUARANTINE))) {
      const place = path.join(QUARANTINE, name);
      if (!STREAM_ID.test(name)) this.#sayForeign(place);
      else if (check(place, "directory")) {
        for (const piece of listIfThere(storage, path.join(storeDirectory, place))) {
          const piecePath = path.join(place, piece.name);
          if (!isPieceName(piece.name)) this.#sayForeign(piecePath);
          else if (check(piecePath, "file")) this.#sayKept(piecePath);
        }
      }
    }
  }

  #sayForeign(path: string): void {
    this.#findings.add({ severity: "foreign", path, text: "nothing that a start keeps" });
  }

  #sayKept(path: string): void {
    const text = "bytes that a start cut off or wrote over in a segment, kept to be looked at";
    this.#findings.add({ severity: "note", path, text });
  }

  #readEpoch(): number | undefined {
    const { storage, storeDirectory } = this.#options;
    const stored = readEpoch(storage, storeDirectory);
    if (stored === "missing") return undefined;
    if (stored !== "damaged") return stored.epoch;
    const text = "the count of starts is not readable; the next start counts on from far ahead";
    this.#findings.add({ severity: "damage", path: "epoch", text });
    return undefined;
  }

  #planStreams(): StreamPlan[] {
    const { storage, storeDirectory, isLive } = this.#options;
    const parent = path.join(storeDirectory, "streams");
    const plans: StreamPlan[] = [];
    // A store that no engine has ever opened has none.
    const entries = listIfThere(storage, parent);
    for (const { name } of entries) {
      const place = path.join("streams", name);
      if (STREAM_ID.test(name)) {
        const directory = path.join(parent, name);
        if (!this.#check.entry(this.#findings)(place, "directory")) continue;
        plans.push(planStream(storage, { streamId: name, directory }));
      } else if (name.endsWith(".deleted")) {
        const text = "the rest of a deleted stream, which the next start removes";
        if (!isLive) this.#findings.add({ severity: "torn", path: place, text });
      } else this.#findings.add({ severity: "foreign", path: place, text: "no stream of a store" });
    }
    const nameOf = ({ name, streamId }: StreamPlan): string => name ?? streamId;
    return plans.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  }

  #segmentBytes(directory: string): number {
    const { storage, lookAt } = this.#options;
    let sum = 0;
    for (const { name, kind } of listIfThere(storage, directory)) {
      if (kind !== "file" || parseSegmentName(name) === undefined) continue;
      try {
        sum += lookAt(path.join(directory, name)).sizeBytes;
      } catch {
        // Gone since, or not for us: said where it is opened.
      }
    }
    return sum;
  }

  /** @returns undefined for a stream that was deleted since it was listed */
  *#verifyStream(plan: StreamPlan): Generator<VerifyProgress, StreamVerdict | undefined, undefined> {
    try {
      const walk = verifyStreamDirectory(plan, { ...this.#options, check: this.#check });
      let step = walk.next();
      while (step.done !== true) {
        this.#doneBytes += step.value;
        const doneBytes = this.#doneBytes;
        const totalBytes = Math.max(doneBytes, this.#totalBytes);
        yield { doneBytes, totalBytes, label: plan.name ?? plan.streamId };
        step = walk.next();
      }
      return step.value;
    } catch (error) {
      if (this.#options.isLive && systemCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  /** A creation that failed after its definition was written, and was tried again; recovery serves one of them. */
  #checkNames(streams: readonly StreamVerdict[]): void {
    const seen = new Map<string, StreamVerdict>();
    for (const stream of streams) {
      if (stream.name === undefined) continue;
      const namesake = seen.get(stream.name);
      seen.set(stream.name, stream);
      if (namesake === undefined) continue;
      const text = `has the name of ${namesake.streamId}, ${JSON.stringify(stream.name)}: one of them is served, rather one with segments`;
      const isFault = stream.contents.segments > 0 && namesake.contents.segments > 0;
      stream.findings.add({
        severity: isFault ? "damage" : "torn",
        path: path.join("streams", stream.streamId),
        text,
      });
    }
  }
}

function listIfThere(storage: Storage, directory: string): StorageEntry[] {
  try {
    return storage.list(directory);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}
