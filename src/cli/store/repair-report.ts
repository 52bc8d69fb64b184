import path from "node:path";
import { Persistence } from "../../core/stream-definition.ts";
import type { StoreRepair, StreamRepair } from "../../stream/store-repair.ts";
import { printableText } from "../printable.ts";
import { countOf } from "../table.ts";
import { changesToJson, changeTexts } from "./change-text.ts";

/** A repair that was done, or tried out. */
export interface RepairRun {
  readonly storeDirectory: string;
  readonly isDryRun: boolean;
  readonly repair: StoreRepair;
}

export function formatRepair({ storeDirectory, isDryRun, repair }: RepairRun): string {
  const { epoch, changes, streams, leftAlone } = repair;
  const would = isDryRun ? "would be " : "";
  const lines = [
    isDryRun ? `store ${storeDirectory}, dry run: nothing is changed` : `store ${storeDirectory}`,
    `  start ${epoch} ${would}counted`,
    ...changeTexts(changes, storeDirectory).map((text) => `  ${would}done: ${printableText(text)}`),
  ];
  for (const stream of streams) lines.push(...formatStream(stream, { storeDirectory, would }));
  for (const { directory, reason } of leftAlone) {
    lines.push(
      `left alone: ${printableText(path.relative(storeDirectory, directory))} ${printableText(reason)}`,
    );
  }
  lines.push("", endText(repair, would));
  return lines.join("\n");
}

function formatStream(
  stream: StreamRepair,
  { storeDirectory, would }: { readonly storeDirectory: string; readonly would: string },
): string[] {
  const { streamId, name, notes, changes, failure } = stream;
  const directory = path.join(storeDirectory, "streams", streamId);
  return [
    `stream ${printableText(name)} (streams/${streamId}): ${stateText(stream)}`,
    ...(failure === undefined ? [] : [`  not recovered: ${printableText(failure)}`]),
    ...notes.map((note) => `  found: ${printableText(note)}`),
    ...changeTexts(changes, directory).map((text) => `  ${would}done: ${printableText(text)}`),
  ];
}

function stateText({ persistence, notes, failure, oldestSequence, nextSequence }: StreamRepair): string {
  if (persistence === Persistence.Memory) return "in memory, begins empty with every start";
  if (failure !== undefined) return "NOT RECOVERED";
  const held =
    nextSequence === oldestSequence ? "empty" : `messages ${oldestSequence} to ${nextSequence - 1}`;
  return `${notes.length === 0 ? "sound" : "recovered"}, ${held}`;
}

function endText({ streams }: StoreRepair, would: string): string {
  const recovered = streams.filter(({ notes, failure }) => notes.length > 0 && failure === undefined).length;
  const failed = streams.filter(({ failure }) => failure !== undefined).length;
  const sound = streams.length - recovered - failed;
  const failures = failed === 0 ? "" : `, ${failed} not recovered`;
  return `${countOf(streams.length, "stream")}: ${sound} sound, ${recovered} ${would}recovered${failures}
what is damaged inside complete segments stays there and is skipped by readers: millrace store verify finds it`;
}

/** Why the store is not as an engine wants it, on one line; undefined when all of it can be served. */
export function failureText({ storeDirectory, repair }: RepairRun): string | undefined {
  const failed = repair.streams.find(({ failure }) => failure !== undefined);
  if (failed !== undefined) {
    return `Cannot recover stream ${JSON.stringify(failed.name)} of store ${storeDirectory}: ${failed.failure ?? ""}`;
  }
  const fenced = repair.leftAlone.find(({ cause }) => cause === "definition");
  if (fenced === undefined) return undefined;
  return `Cannot recover ${path.relative(storeDirectory, fenced.directory)} of store ${storeDirectory}: it ${fenced.reason}`;
}

/** The same for a program. */
export function repairToJson({ storeDirectory, isDryRun, repair }: RepairRun): object {
  const { epoch, changes, streams, leftAlone } = repair;
  return {
    store: storeDirectory,
    isDryRun,
    epoch,
    changes: changesToJson(changes, storeDirectory),
    streams: streams.map(({ persistence, changes: own, ...stream }) => ({
      ...stream,
      persistence: persistence === Persistence.File ? "File" : "Memory",
      changes: changesToJson(own, storeDirectory),
    })),
    leftAlone: leftAlone.map(({ directory, reason }) => ({
      path: path.relative(storeDirectory, directory),
      reason,
    })),
  };
}
