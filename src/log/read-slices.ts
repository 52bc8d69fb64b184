import type { DecodedBlock, GapReason, LogSlice, ReadBudget } from "./decoded-block.ts";

/** What stands at a sequence number. */
export type FoundBlock =
  | { readonly kind: "block"; readonly block: DecodedBlock }
  | { readonly kind: "gap"; readonly toSequence: number; readonly reason: GapReason };

export interface SliceRequest {
  readonly fromSequence: number;
  /** Exclusive. */
  readonly endSequence: number;
  readonly messageCountMax: number;
  readonly bytesMax: number;
}

/** Messages of a range, with what cannot be given as gaps; at least one message if there is one. */
export function readSlices(request: SliceRequest, blockAt: (sequence: number) => FoundBlock): LogSlice[] {
  const { endSequence } = request;
  const budget: ReadBudget = { messageCount: request.messageCountMax, bytes: request.bytesMax };
  const slices: LogSlice[] = [];
  let hasMessages = false;
  let sequence = request.fromSequence;
  while (sequence < endSequence && budget.messageCount > 0) {
    const found = blockAt(sequence);
    if (found.kind === "gap") {
      const toSequence = Math.min(endSequence, found.toSequence);
      slices.push({ ...found, fromSequence: sequence, toSequence });
      sequence = toSequence;
      continue;
    }
    const slice = found.block.slice(sequence, endSequence, budget, { force: !hasMessages });
    if (slice?.kind !== "messages") break;
    slices.push(slice);
    hasMessages = true;
    sequence += slice.messageCount;
  }
  return slices;
}
