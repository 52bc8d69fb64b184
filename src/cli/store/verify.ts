import path from "node:path";
import { Command } from "commander";
import { systemClock } from "../../core/clock.ts";
import { MillraceError, systemCode } from "../../core/errors.ts";
import { fileStorage, lookAtFile } from "../../log/file-storage.ts";
import { isStoreLocked } from "../../net/store-lock.ts";
import { assertStoreFormat } from "../../stream/store-format.ts";
import { verifyStore, type StoreVerdict } from "../../stream/store-verifier.ts";
import type { NamedStream } from "../../stream/stream-directory-verifier.ts";
import { writeLine, type CommandContext } from "../command-context.ts";
import { ProgressBar } from "../progress-bar.ts";
import { loadStoreSettings, withStoreOptions, type StoreFlags } from "../store-options.ts";
import { checkCursor } from "./cursor-check.ts";
import { faultText, formatVerdict, verdictToJson, type VerifyRun } from "./verify-report.ts";

interface VerifyFlags extends StoreFlags {
  readonly stream?: string;
}

/** `millrace store verify`. */
export function verifyCommand(context: CommandContext): Command {
  const command = new Command("verify")
    .description("Read and check everything in a store; changes nothing, and may run beside an engine")
    .option("--stream <name|id>", "only this stream")
    .addHelpText(
      "after",
      `
Faults (exit code 1): damage (does not verify, or no file holds it), unreadable (the medium or the system refuses), rights (others
could touch it, or it is a link or a pipe). No faults: torn (what a crash may leave and a start repairs), foreign (left alone).`,
    );
  return withStoreOptions(command).action((flags: VerifyFlags) => verify(context, flags));
}

async function verify(context: CommandContext, flags: VerifyFlags): Promise<void> {
  const { storeDirectory: configured } = await loadStoreSettings(context.machine, flags);
  const storeDirectory = path.resolve(configured);
  assertIsStore(storeDirectory);
  assertStoreFormat(fileStorage, storeDirectory);
  const isLive = await isStoreLocked(storeDirectory);
  const progress = new ProgressBar(context.stderr, systemClock);
  const startMs = systemClock.monotonicMs();
  const verdict = run({ storeDirectory, isLive, stream: flags.stream, progress });
  progress.clear();
  if (flags.stream !== undefined && verdict.streams.length === 0) {
    throw new MillraceError(
      "STREAM_NOT_FOUND",
      `No stream ${JSON.stringify(flags.stream)} in store ${storeDirectory}`,
    );
  }
  const seconds = (systemClock.monotonicMs() - startMs) / 1000;
  const report: VerifyRun = { storeDirectory, isLive, seconds, verdict };
  const text = flags.json === true ? JSON.stringify(verdictToJson(report)) : formatVerdict(report);
  await writeLine(context.stdout, text);
  const fault = faultText(report);
  if (fault !== undefined) throw new MillraceError("STORE_READ_ERROR", fault);
}

/** @throws {MillraceError} STORE_UNUSABLE when there is none */
export function assertIsStore(storeDirectory: string): void {
  let reason: string;
  try {
    const { kind } = lookAtFile(storeDirectory);
    if (kind === "directory") return;
    reason = `it is a ${kind}`;
  } catch (error) {
    const code = systemCode(error);
    reason = code === "ENOENT" ? "there is none" : (code ?? String(error));
  }
  throw new MillraceError("STORE_UNUSABLE", `Cannot read store ${storeDirectory}: ${reason}`);
}

function run(options: {
  readonly storeDirectory: string;
  readonly isLive: boolean;
  readonly stream: string | undefined;
  readonly progress: ProgressBar;
}): StoreVerdict {
  const { storeDirectory, isLive, stream, progress } = options;
  const isWanted = ({ streamId, name }: NamedStream): boolean => stream === streamId || stream === name;
  const walk = verifyStore({
    storage: fileStorage,
    lookAt: lookAtFile,
    storeDirectory,
    isLive,
    isWanted: stream === undefined ? undefined : isWanted,
    checkCursor: (place) => checkCursor(fileStorage, place),
  });
  let step = walk.next();
  while (step.done !== true) {
    const { doneBytes, totalBytes, label } = step.value;
    progress.bytes(doneBytes, totalBytes, label);
    step = walk.next();
  }
  return step.value;
}
