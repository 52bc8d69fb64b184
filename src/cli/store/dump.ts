import path from "node:path";
import { Command } from "commander";
import { MillraceError, systemCode } from "../../core/errors.ts";
import { BlockKind, blockEndSequence } from "../../log/block-layout.ts";
import { fileStorage } from "../../log/file-storage.ts";
import { inspectSegment, type BlockPart, type SegmentPart } from "../../log/segment-inspector.ts";
import { neighbourIds } from "../../log/segment-neighbours.ts";
import type { StorageFile } from "../../log/storage.ts";
import { BufferedOutput } from "../buffered-output.ts";
import { type CommandContext } from "../command-context.ts";
import { integerOption } from "../option-values.ts";
import {
  formatColumns,
  formatHead,
  formatMessage,
  formatPart,
  formatTotals,
  headToJson,
  messageToJson,
  partToJson,
  type DumpTotals,
} from "./segment-report.ts";

interface DumpFlags {
  readonly json?: boolean;
  readonly messages?: boolean;
  readonly from: number;
  readonly limit?: number;
}

/** `millrace store dump <segment>`. */
export function dumpCommand(context: CommandContext): Command {
  const sequence = integerOption({ min: 0, max: Number.MAX_SAFE_INTEGER });
  return new Command("dump")
    .description("Print what a segment file holds, whatever state it is in")
    .argument("<segment file>")
    .option("--messages", "print the messages too")
    .option("--from <sequence>", "begin with the block that holds this sequence number", sequence, 0)
    .option("--limit <count>", "stop after so many blocks, with --messages after so many messages", sequence)
    .option("--json", "print one JSON object a line")
    .addHelpText(
      "after",
      "\nIn JSON a payload is `text` where it is UTF-8, else `base64`. Damage is printed, and is no failure of the command.",
    )
    .action((file: string, flags: DumpFlags) => dump(context, file, flags));
}

async function dump({ stdout }: CommandContext, file: string, flags: DumpFlags): Promise<void> {
  const filePath = path.resolve(file);
  const segment = openSegment(filePath);
  try {
    const output = new BufferedOutput(stdout);
    // Once nobody reads it any more there is no use in going on.
    const isWanted = (): boolean => stdout.writable;
    const isSegment = await new Dump(segment, { ...flags, isWanted }, output).print();
    await output.flush();
    if (isSegment) return;
    throw new MillraceError(
      "STORE_READ_ERROR",
      `Cannot find a segment in ${filePath}: nothing in it verifies`,
    );
  } finally {
    segment.close();
  }
}

function openSegment(filePath: string): StorageFile {
  try {
    return fileStorage.open(filePath, "read");
  } catch (cause) {
    const reason = reasons[systemCode(cause) ?? ""] ?? systemCode(cause) ?? String(cause);
    throw new MillraceError("STORE_READ_ERROR", `Cannot open ${filePath}: ${reason}`, { cause });
  }
}

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "permission denied",
  ELOOP: "not a regular file with one name",
};

class Dump {
  readonly #file: StorageFile;
  readonly #flags: DumpFlags & { readonly isWanted: () => boolean };
  readonly #output: BufferedOutput;
  readonly #totals: DumpTotals = {
    blocks: 0,
    messages: 0,
    rawBytes: 0,
    storedBytes: 0,
    damagedBytes: 0,
    damagedBlocks: 0,
  };
  #left: number;

  constructor(
    file: StorageFile,
    flags: DumpFlags & { readonly isWanted: () => boolean },
    output: BufferedOutput,
  ) {
    this.#file = file;
    this.#flags = flags;
    this.#output = output;
    this.#left = flags.limit ?? Number.POSITIVE_INFINITY;
  }

  /** @returns false when nothing in the file is known */
  async print(): Promise<boolean> {
    const endBytes = this.#file.sizeBytes();
    const otherIds = (): Buffer[] => neighbourIds(fileStorage, this.#file.path);
    let isKnown = false;
    for (const part of inspectSegment({ file: this.#file, endBytes, otherIds })) {
      if (part.kind === "head") isKnown = part.segmentId !== undefined || part.copies.some(isOtherVersion);
      if (this.#left <= 0 || !this.#flags.isWanted()) break;
      if (!this.#isBefore(part)) await this.#printPart(part, endBytes);
    }
    if (isKnown) await this.#printTotals();
    return isKnown;
  }

  async #printTotals(): Promise<void> {
    const { json } = this.#flags;
    const totals = this.#totals;
    const text = json === true ? JSON.stringify({ type: "totals", ...totals }) : `\n${formatTotals(totals)}`;
    await this.#line(text);
  }

  /** Whether the part lies below what `--from` asks for. */
  #isBefore(part: SegmentPart): boolean {
    const { from } = this.#flags;
    if (from === 0 || part.kind === "head") return false;
    if (part.kind !== "block") return !this.#hasBegun;
    if (part.header.kind === BlockKind.Data) this.#hasBegun ||= blockEndSequence(part.header) > from;
    return !this.#hasBegun;
  }
  #hasBegun = false;

  async #printPart(part: SegmentPart, sizeBytes: number): Promise<void> {
    const isJson = this.#flags.json === true;
    if (part.kind === "head") {
      const file = { path: this.#file.path, sizeBytes };
      const text = `${formatHead(part, file)}\n\n${formatColumns()}`;
      await this.#line(isJson ? JSON.stringify({ ...headToJson(part), ...file }) : text);
      return;
    }
    await this.#line(isJson ? JSON.stringify(partToJson(part)) : formatPart(part));
    if (part.kind === "damage") this.#totals.damagedBytes += part.sizeBytes;
    if (part.kind === "block") await this.#countBlock(part);
  }

  async #countBlock(part: BlockPart): Promise<void> {
    const totals = this.#totals;
    if (part.header.kind !== BlockKind.Data) return;
    totals.blocks += 1;
    totals.rawBytes += part.header.rawBytes;
    totals.storedBytes += part.header.storedBytes;
    if (part.block === undefined) totals.damagedBlocks += 1;
    else totals.messages += part.header.messageCount;
    if (this.#flags.messages !== true) this.#left -= 1;
    else await this.#printMessages(part);
  }

  async #printMessages({ block }: BlockPart): Promise<void> {
    const { from, json } = this.#flags;
    for (const message of block?.messages() ?? []) {
      if (message.sequence < from) continue;
      if (this.#left <= 0 || !this.#flags.isWanted()) return;
      this.#left -= 1;
      await this.#line(json === true ? JSON.stringify(messageToJson(message)) : formatMessage(message));
    }
  }

  async #line(text: string): Promise<void> {
    const whenTaken = this.#output.add(Buffer.from(`${text}\n`));
    if (whenTaken !== undefined) await whenTaken;
  }
}

function isOtherVersion({ state }: { readonly state: string }): boolean {
  return state === "other version";
}
