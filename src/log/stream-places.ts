import type { StreamPlace } from "../core/stream-ledger.ts";
import { blockEndPayloadOffset, blockEndSequence, type BlockHeader } from "./block-layout.ts";

/** Where a segment begins, by its header. */
export function basePlace(header: {
  readonly baseSequence: number;
  readonly basePayloadOffset: number;
}): StreamPlace {
  return { sequence: header.baseSequence, payloadOffset: header.basePayloadOffset };
}

/** Where a segment ends, by whoever says so. */
export function endPlace(end: {
  readonly endSequence: number;
  readonly endPayloadOffset: number;
}): StreamPlace {
  return { sequence: end.endSequence, payloadOffset: end.endPayloadOffset };
}

/** Where a block begins. */
export function blockPlace(block: Pick<BlockHeader, "firstSequence" | "payloadOffset">): StreamPlace {
  return { sequence: block.firstSequence, payloadOffset: block.payloadOffset };
}

/** What comes behind a block. */
export function blockEndPlace(
  block: Pick<BlockHeader, "firstSequence" | "messageCount" | "payloadOffset" | "rawBytes">,
): StreamPlace {
  return { sequence: blockEndSequence(block), payloadOffset: blockEndPayloadOffset(block) };
}
