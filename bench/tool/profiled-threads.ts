import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import * as v from "valibot";
import type { MeasuredWindow } from "../measured-windows.ts";
import {
  cpuProfileSchema,
  entryScript,
  joinSpans,
  summarizeProfile,
  type CpuProfile,
  type ProfileSummary,
} from "./cpu-profile.ts";
import { SourcePositions } from "./source-position.ts";

/** A thread of the run and its profile. */
export interface ProfiledThread {
  /** `engine main`, `engine stream-worker 1`, `driver`. */
  readonly name: string;
  readonly pid: number;
  readonly file: string;
  /** False where nothing says when it was measured: shares are of its whole life then. */
  readonly isWindowed: boolean;
  readonly summary: Omit<ProfileSummary, "functions">;
  /** The same by folder or package, of all functions: a flat profile shows there where its time went. */
  readonly places: readonly { readonly place: string; readonly share: number }[];
  readonly functions: readonly { readonly name: string; readonly where: string; readonly share: number }[];
}

/** Every profile of the directories, the busiest thread first. */
export function readThreads(
  directories: readonly string[],
  { windows, top }: { readonly windows: readonly MeasuredWindow[]; readonly top: number },
): ProfiledThread[] {
  const positions = new SourcePositions();
  const files = directories.flatMap((directory) =>
    readdirSync(directory)
      .filter((name) => name.endsWith(".cpuprofile"))
      .map((name) => path.join(directory, name)),
  );
  return files
    .map((file) => readThread(file, { windows, top, positions }))
    .sort((a, b) => b.summary.busy - a.summary.busy);
}

function readThread(
  file: string,
  {
    windows,
    top,
    positions,
  }: {
    readonly windows: readonly MeasuredWindow[];
    readonly top: number;
    readonly positions: SourcePositions;
  },
): ProfiledThread {
  const profile = v.parse(cpuProfileSchema, JSON.parse(readFileSync(file, "utf8")));
  const { pid, threadId } = idsOf(file);
  const isMeasured = windows.some((window) => window.pid === pid);
  // The driver was at work while any of the servers was measured.
  const spans = joinSpans(isMeasured ? windows.filter((window) => window.pid === pid) : windows);
  const { functions, ...summary } = summarizeProfile(profile, spans);
  return {
    name: threadName(profile, threadId),
    pid,
    file,
    isWindowed: spans.length > 0,
    summary,
    places: placesOf(functions, positions),
    functions: functions.slice(0, top).map(({ frame, share }) => {
      const name = frame.functionName === "" ? "(anonymous)" : frame.functionName;
      return { name, where: positions.where(frame), share };
    }),
  };
}

function placesOf(
  functions: ProfileSummary["functions"],
  positions: SourcePositions,
): ProfiledThread["places"] {
  const shares = new Map<string, number>();
  for (const { frame, share } of functions) {
    const place = placeOf(positions.where(frame));
    shares.set(place, (shares.get(place) ?? 0) + share);
  }
  return [...shares].map(([place, share]) => ({ place, share })).sort((a, b) => b.share - a.share);
}

/** `src/log`, a package's name, `node:zlib`, or `native` for what has no file. */
export function placeOf(where: string): string {
  const inPackage = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(where)?.[1];
  if (inPackage !== undefined) return inPackage;
  if (where === "") return "native";
  if (where.startsWith("node:")) return /^node:(?:internal\/)?\w+/.exec(where)![0];
  return where.split("/").slice(0, -1).slice(0, 2).join("/");
}

/** Node names its files CPU.<date>.<time>.<pid>.<thread>.<number>.cpuprofile */
function idsOf(file: string): { pid: number; threadId: number } {
  const found = /\.(\d+)\.(\d+)\.\d+\.cpuprofile$/.exec(file);
  if (found === null) throw new Error(`${file} is not named as Node.js names profiles`);
  return { pid: Number(found[1]), threadId: Number(found[2]) };
}

const mainNames: Readonly<Record<string, string>> = { millrace: "engine main", run: "driver" };

function threadName(profile: CpuProfile, threadId: number): string {
  const script = entryScript(profile, threadId === 0);
  if (threadId === 0) return script === undefined ? "main" : (mainNames[script] ?? script);
  return `engine ${script ?? "thread"} ${threadId}`;
}
