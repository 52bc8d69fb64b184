import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import type { Clock } from "../../src/core/clock.ts";
import type { ExportRecord, SendOutcome, TendOutcome } from "../../src/export/destinations/destination.ts";
import { FileDestination } from "../../src/export/destinations/file.ts";
import type { DestinationSettings } from "../../src/export/exporter-settings.ts";
import { addPartNote, type PartNote, readPartNotes } from "../../src/export/part-notes.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { temporaryDirectory } from "./engine-process.ts";

type FileSettings = DestinationSettings & { readonly kind: "file" };

const STREAM_ID = "00112233445566778899aabbccddeeff";

export function records(from: number, to: number, text = "payload"): ExportRecord[] {
  return Array.from({ length: to - from }, (_, index) => ({
    sequence: from + index,
    ingestTimeMs: 1_700_000_000_000,
    data: Buffer.from(`${text} ${from + index}`),
  }));
}

/** A directory that may be written to, and a destination that has just been started: it keeps nothing between two batches. */
export class FileBench {
  readonly root: string;
  readonly directory: string;
  nowMs = 1_800_000_000_000;
  settings: FileSettings;

  constructor(t: TestContext, changes: Partial<FileSettings> = {}, root = temporaryDirectory(t)) {
    this.root = root;
    this.directory = path.join(root, "out");
    mkdirSync(this.directory);
    mkdirSync(this.#context.streamDirectory, { recursive: true });
    this.settings = {
      kind: "file",
      directory: this.directory,
      format: "raw",
      gzip: false,
      rotateBytes: 1024,
      rotateMs: undefined,
      ...changes,
    };
  }

  send(batch: readonly ExportRecord[], allowed?: readonly string[]): Promise<SendOutcome> {
    return this.#destination(allowed).send(this.settings, batch, this.#context);
  }

  /** Of all that it said but when it wants to be tended. */
  async accept(batch: readonly ExportRecord[]): Promise<number | undefined> {
    const { tendInMs, ...outcome } = await this.send(batch);
    assert.deepEqual(outcome, {
      ...{ kind: "answered", failed: [], error: "" },
      // Files are no requests: they have no part in bandwidth.
      requestBytes: 0,
    });
    return tendInMs;
  }

  /** `settings`: null where nobody knows them. */
  tend({
    isLast = false,
    settings = this.settings,
    allowed,
  }: {
    isLast?: boolean;
    settings?: FileSettings | null;
    allowed?: readonly string[];
  } = {}): Promise<TendOutcome> {
    return this.#destination(allowed).tend(settings ?? undefined, this.#context, { isLast });
  }

  get notes(): readonly PartNote[] {
    return readPartNotes(fileStorage, this.#context);
  }

  note(note: PartNote): void {
    addPartNote(fileStorage, this.#context, note);
  }

  #destination(fileDirectories: readonly string[] = [this.root]): FileDestination {
    const clock: Clock = { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs };
    return new FileDestination({ environment: { fileDirectories }, storage: fileStorage, clock });
  }

  get #context() {
    return {
      streamId: STREAM_ID,
      streamName: "readings",
      exporterId: "ab".repeat(16),
      identifier: "f",
      streamDirectory: path.join(this.root, "store", STREAM_ID),
    };
  }

  /** Names that do not begin with a dot. */
  get names(): string[] {
    return this.allNames.filter((name) => !name.startsWith(".")).sort();
  }

  get allNames(): string[] {
    return readdirSync(this.directory);
  }

  text(name: string): string {
    return readFileSync(path.join(this.directory, name), "utf8");
  }
}
