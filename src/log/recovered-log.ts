import path from "node:path";

import { MillraceError } from "../core/errors.ts";
import { droppedEndOf, emptyLedger, laterOf, STREAM_START, type StreamPlace } from "../core/stream-ledger.ts";
import type { DiskRoom } from "./disk-room.ts";
import { LedgerFile, ownRecord } from "./ledger-file.ts";
import type { LedgerRecord } from "./ledger-layout.ts";
import { type HeadRestoration, type HeadRestorationOptions, restoreHeads } from "./head-restoration.ts";
import { lostMessages, type RecoveredChain, recoverChain, type RecoveryOptions } from "./log-recovery.ts";
import { Quarantine, type QuarantinedPiece } from "./quarantine.ts";
import type { RecoveryReport } from "./recovery-report.ts";
import type { Storage } from "./storage.ts";

/** What is left of a stream, as it was read. */
export interface RecoveredLog {
  readonly chain: RecoveredChain;
  readonly ledgerFile: LedgerFile;
  /** Undefined when there is no account that fits the segments: it begins again with what they say. */
  readonly record: LedgerRecord | undefined;
}

export interface RecoverLogOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly streamId: Buffer;
  /** Messages below were exported. */
  readonly knownEnd?: StreamPlace | undefined;
  /** Where to keep what is cut off or written over (quarantine.ts); undefined: nowhere. */
  readonly quarantineDirectory?: string | undefined;
  readonly epoch?: number | undefined;
  readonly diskRoom?: Pick<DiskRoom, "freeBytesMin"> | undefined;
}

/** Reads what the last process left in a stream's directory. @throws {MillraceError} STREAM_FENCED when that cannot be read at all */
export function recoverLog(options: RecoverLogOptions): RecoveredLog {
  const quarantine = quarantineOf(options);
  const { storage, directory, streamId } = options;
  const ledgerFile = new LedgerFile(storage, directory);
  const found = ledgerFile.read();
  const record = ownRecord(found, streamId);
  const droppedEnd = droppedEndOf(record?.snapshot ?? emptyLedger);
  const knownEnd = laterOf(options.knownEnd ?? STREAM_START, record?.knownEnd ?? STREAM_START);
  let chain: RecoveredChain | undefined;
  try {
    const keep = (piece: QuarantinedPiece): void => quarantine?.keep(piece);
    chain = recoverWithHeads({ ...options, keep, droppedEnd, provenEnd: knownEnd });
    if (chain.tail !== undefined) quarantine?.keepTail(chain.tail);
    chain.report.quarantined.push(...(quarantine?.kept ?? []));
  } catch (error) {
    chain?.tail?.file.close();
    const text = `Cannot recover the stream in "${path.basename(directory)}"`;
    throw new MillraceError("STREAM_FENCED", text, { cause: error });
  }
  const isUsable = record !== undefined && chain.isLedgerUsable;
  chain.report.hasLostLedger = found !== "missing" && !isUsable;
  return { chain, ledgerFile, record: isUsable ? record : undefined };
}

function quarantineOf(options: RecoverLogOptions): Quarantine | undefined {
  const { storage, quarantineDirectory: directory, epoch = 0, diskRoom } = options;
  if (directory === undefined) return undefined;
  return new Quarantine({ storage, directory, epoch, freeBytesMin: diskRoom?.freeBytesMin ?? 0 });
}

/** Segments whose header is damaged come back first, if they can; then the chain is what it was. */
function recoverWithHeads(options: RecoveryOptions & Pick<HeadRestorationOptions, "keep">): RecoveredChain {
  let chain = recoverChain(options);
  let { provenEnd } = options;
  if (chain.report.unreadable.length > 0) {
    const { restored, lostBases, heldEnd } = restoreHeadsOf(chain, options);
    if (restored.length > 0) {
      chain.tail?.file.close();
      const { setAside } = chain.report;
      chain = recoverChain(options);
      chain.report.setAside.unshift(...setAside);
      chain.report.restored.push(...restored);
    }
    callCorrupt(chain.report, lostBases);
    provenEnd = laterOf(provenEnd, heldEnd);
  }
  chain.report.dataLoss = lostMessages(chain, provenEnd);
  return chain;
}

function restoreHeadsOf(
  chain: RecoveredChain,
  options: RecoveryOptions & Pick<HeadRestorationOptions, "keep">,
): HeadRestoration {
  try {
    return restoreHeads({ ...options, chain });
  } catch (error) {
    chain.tail?.file.close();
    throw error;
  }
}

/** What a file that is there held is damaged, not missing. */
function callCorrupt({ missing, corrupt }: RecoveryReport, bases: readonly number[]): void {
  for (const range of missing.splice(0)) {
    const isHeld = bases.some((base) => base >= range.fromSequence && base < range.toSequence);
    (isHeld ? corrupt : missing).push(range);
  }
}
