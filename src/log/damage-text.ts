import type { BlockPart, DamagePart } from "./segment-inspector.ts";

const damageTexts = {
  NOTHING_KNOWN: "neither a block nor padding begins here",
  ZEROS: "zeros where a block belongs",
  HEADER_DAMAGED: "a block header does not verify",
  HEADER_CUT_OFF: "the file ends inside a block header",
  BODY_CUT_OFF: "the file ends inside the stored bytes of a block",
  UNREADABLE: "the medium cannot read this",
  NO_SEGMENT_ID: "no copy of the header is whole, and nothing verifies without the segment's id",
} as const satisfies Record<DamagePart["reason"], string>;

const problemTexts = {
  STORED_CRC: "the checksum of the stored bytes does not match",
  LZ4: "the stored bytes do not decompress",
  RAW_CRC: "the checksum of the messages does not match",
  FRAMING: "the messages do not add up to the block",
} as const satisfies Record<NonNullable<BlockPart["problem"]>, string>;

/** Why bytes are no block. */
export function damageText({ reason, readError }: DamagePart): string {
  return readError === undefined ? damageTexts[reason] : `${damageTexts[reason]} (${readError})`;
}

/** Why a block cannot be read; undefined if it can. */
export function problemText({ problem, readError }: BlockPart): string | undefined {
  if (readError !== undefined) return `${damageTexts.UNREADABLE} (${readError})`;
  return problem === undefined ? undefined : problemTexts[problem];
}
