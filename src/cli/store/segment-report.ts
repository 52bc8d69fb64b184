import { BlockKind, blockEndSequence, type DecodedBlockHeader } from "../../log/block-layout.ts";
import { damageText, problemText } from "../../log/damage-text.ts";
import type { StoredMessage } from "../../log/decoded-block.ts";
import type { BlockPart, HeadPart, SegmentPart } from "../../log/segment-inspector.ts";
import type { SegmentHeader } from "../../log/segment-layout.ts";
import { printableBytes, utf8Text } from "../printable.ts";
import { countOf, formatBytes, formatFields } from "../table.ts";

/** What a whole dump counted. */
export interface DumpTotals {
  blocks: number;
  messages: number;
  rawBytes: number;
  storedBytes: number;
  damagedBytes: number;
  damagedBlocks: number;
}

const blockKindNames = {
  [BlockKind.Data]: "data",
  [BlockKind.Watermark]: "watermark",
  [BlockKind.Seal]: "seal",
} as const satisfies Record<BlockKind, string>;

/** Raw bytes of a stored byte. */
function ratioOf({ rawBytes, storedBytes }: { rawBytes: number; storedBytes: number }): number {
  return storedBytes === 0 ? 0 : Number((rawBytes / storedBytes).toFixed(2));
}

/** The start of the dump. */
export function formatHead(
  part: HeadPart,
  file: { readonly path: string; readonly sizeBytes: number },
): string {
  const { copies, header } = part;
  const states = copies.map(({ state }, index) => `${index === 0 ? "first" : "second"} ${state}`);
  const fields: (readonly [string, string | number])[] = [
    ["file", file.path],
    ["size", `${formatBytes(file.sizeBytes)} (${file.sizeBytes} bytes)`],
    ["header copies", states.join(", ")],
  ];
  if (header !== undefined) fields.push(...headerFields(header));
  else if (part.segmentId !== undefined) {
    fields.push(["segment", `${part.segmentId.toString("hex")} (blocks verify with it)`]);
  }
  return formatFields(fields);
}

function headerFields(header: SegmentHeader): (readonly [string, string | number])[] {
  const { predecessor } = header;
  return [
    ["stream", header.streamId.toString("hex")],
    ["segment", header.segmentId.toString("hex")],
    ["base sequence", `${header.baseSequence}, payload offset ${header.basePayloadOffset}`],
    ["generation", generationText(header)],
    ["created", `${timeText(header.createdMs)}, epoch ${header.epoch}`],
    ["clock era", `${header.clockEra}, age ${header.ageMs} ms`],
    [
      "predecessor",
      predecessor === undefined
        ? "none"
        : `${predecessor.segmentId.toString("hex")} at ${predecessor.baseSequence}, ends before ${predecessor.endSequence}, at byte ${predecessor.endBytes}`,
    ],
  ];
}

function generationText({ generation, rewritten }: SegmentHeader): string {
  return rewritten === undefined
    ? String(generation)
    : `${generation}, rewritten, ends before ${rewritten.endSequence}`;
}

/** An instant, also one that no calendar has. */
function timeText(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? `${ms} ms` : date.toISOString();
}

/** Widths of the columns: parts are printed as they come, so nothing can be measured first. */
const columns = [
  ["offset", 10],
  ["kind", -9],
  ["sequences", -19],
  ["messages", 8],
  ["raw", 9],
  ["stored", 9],
  ["ratio", 6],
  ["synced at", 10],
  ["epoch", 5],
  ["age", 10],
  ["runs", 4],
  ["ingest", 0],
] as const;

export function formatColumns(): string {
  return formatRow(columns.map(([name]) => name));
}

function formatRow(cells: readonly (string | number)[]): string {
  return columns
    .map(([, width], index) => {
      const text = String(cells[index] ?? "");
      return width < 0 ? text.padEnd(-width) : text.padStart(width);
    })
    .join("  ")
    .trimEnd();
}

/** A block, padding or damage as lines of the dump. */
export function formatPart(part: Exclude<SegmentPart, HeadPart>): string {
  switch (part.kind) {
    case "padding": {
      const text = `${part.sizeBytes} bytes${part.isZero ? "" : ", not all zero as they should be"}`;
      return formatRow([part.offset, "padding", text]);
    }
    case "damage": {
      const next = part.isFollowed
        ? `the next block that verifies is at ${part.offset + part.sizeBytes}`
        : "nothing that verifies follows";
      return formatRow([part.offset, "DAMAGE", `${part.sizeBytes} bytes: ${damageText(part)}; ${next}`]);
    }
    case "block":
      return formatBlock(part);
  }
}

function formatBlock(part: BlockPart): string {
  const { header } = part;
  const isData = header.kind === BlockKind.Data;
  const row = [
    part.offset,
    blockKindNames[header.kind],
    isData ? `${header.firstSequence}..${blockEndSequence(header) - 1}` : `next ${header.firstSequence}`,
    ...(isData
      ? [header.messageCount, header.rawBytes, header.storedBytes, ratioOf(header).toFixed(2)]
      : ["", "", "", ""]),
    header.syncedPosition,
    header.epoch,
    `+${header.ageDeltaMs}${header.isAgeProven ? "" : "?"}`,
    isData ? header.runs.length : "",
    ingestText(header),
  ];
  const lines = [formatRow(row)];
  const producers = producersText(header);
  if (producers !== "") lines.push(`${DETAIL}producers ${producers}`);
  if (header.summary !== undefined) {
    const { messageCount, payloadBytes, rawBytes, firstIngestMs, lastIngestMs } = header.summary;
    const times = `${timeText(firstIngestMs)} to ${timeText(lastIngestMs)}`;
    lines.push(
      `${DETAIL}segment of ${countOf(messageCount, "message")}, ${payloadBytes} payload bytes, ${rawBytes} raw, ${times}`,
    );
  }
  const problem = problemText(part);
  if (problem !== undefined) lines.push(`${DETAIL}DAMAGE: ${problem}; ${header.storedBytes} bytes skipped`);
  return lines.join("\n");
}

const DETAIL = " ".repeat(12);

function ingestText({ firstIngestMs, lastIngestMs }: DecodedBlockHeader): string {
  const span = lastIngestMs - firstIngestMs;
  return span === 0 ? timeText(firstIngestMs) : `${timeText(firstIngestMs)} +${span} ms`;
}

const PRODUCERS_SHOWN_MAX = 8;

/** Batches by producer: `7: 3..9` are its batches 3 to 9. */
function producersText({ runs }: DecodedBlockHeader): string {
  const ranges = new Map<number, { first: number; last: number }>();
  for (const { producer } of runs) {
    if (producer === undefined) continue;
    const range = ranges.get(producer.id);
    if (range === undefined) ranges.set(producer.id, { first: producer.sequence, last: producer.sequence });
    else range.last = producer.sequence;
  }
  const texts = [...ranges].map(([id, { first, last }]) => `${id}: ${first}..${last}`);
  const more = texts.length - PRODUCERS_SHOWN_MAX;
  return [...texts.slice(0, PRODUCERS_SHOWN_MAX), ...(more > 0 ? [`${more} more`] : [])].join(", ");
}

/** A message on a line, indented below its block. */
export function formatMessage({ sequence, ingestMs, payload }: StoredMessage): string {
  return `${DETAIL}${sequence}  ${timeText(ingestMs)}  ${payload.length} bytes  ${printableBytes(payload)}`;
}

export function formatTotals(totals: DumpTotals): string {
  const { blocks, messages, rawBytes, storedBytes, damagedBytes, damagedBlocks } = totals;
  const size = `${formatBytes(rawBytes)} raw in ${formatBytes(storedBytes)} stored, ratio ${ratioOf(totals).toFixed(2)}`;
  const held = `${countOf(messages, "message")} in ${countOf(blocks, "block")}, ${size}`;
  if (damagedBytes === 0 && damagedBlocks === 0) return `${held}; no damage`;
  return `${held}; damage: ${countOf(damagedBlocks, "block")} that cannot be read, ${damagedBytes} bytes that are no block`;
}

/** The same as objects, one a line. */
export function headToJson(part: HeadPart): object {
  return {
    type: "head",
    copies: part.copies.map(({ offset, state }) => ({ offset, state })),
    segment: part.segmentId?.toString("hex"),
    ...(part.header && headerToJson(part.header)),
  };
}

export function partToJson(part: Exclude<SegmentPart, HeadPart>): object {
  switch (part.kind) {
    case "padding":
      return { type: "padding", offset: part.offset, sizeBytes: part.sizeBytes, isZero: part.isZero };
    case "damage": {
      const { offset, sizeBytes, reason, readError, isFollowed } = part;
      const nextOffset = isFollowed ? offset + sizeBytes : undefined;
      return { type: "damage", offset, sizeBytes, reason, readError, nextOffset, text: damageText(part) };
    }
    case "block": {
      const { kind, ...header } = part.header;
      const problem = problemText(part);
      return {
        type: "block",
        kind: blockKindNames[kind],
        offset: part.offset,
        ...header,
        ratio: ratioOf(header),
        problem: part.problem,
        ...(problem !== undefined && { text: problem, readError: part.readError }),
      };
    }
  }
}

function headerToJson({ streamId, predecessor, ...header }: SegmentHeader): object {
  return {
    stream: streamId.toString("hex"),
    ...header,
    segmentId: undefined,
    predecessor: predecessor && {
      ...predecessor,
      segmentId: undefined,
      segment: predecessor.segmentId.toString("hex"),
    },
  };
}

export function messageToJson({ sequence, ingestMs, payload }: StoredMessage): object {
  const text = utf8Text(payload);
  const base64 = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("base64");
  return { type: "message", sequence, ingestTime: ingestMs, ...(text === undefined ? { base64 } : { text }) };
}
