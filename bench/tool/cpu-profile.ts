import * as v from "valibot";

const callFrame = v.object({
  functionName: v.string(),
  url: v.string(),
  lineNumber: v.number(),
  columnNumber: v.number(),
});

/** What `node --cpu-prof` writes of one thread. Times are microseconds of the monotonic clock. */
export const cpuProfileSchema = v.object({
  nodes: v.array(v.object({ id: v.number(), callFrame })),
  startTime: v.number(),
  endTime: v.number(),
  samples: v.array(v.number()),
  timeDeltas: v.array(v.number()),
});

export type CpuProfile = v.InferOutput<typeof cpuProfileSchema>;
export type CallFrame = v.InferOutput<typeof callFrame>;

export interface TimeSpan {
  readonly startUs: number;
  readonly endUs: number;
}

/** Where a thread's time went. Shares are of `seconds`, from 0 to 1. */
export interface ProfileSummary {
  readonly seconds: number;
  /** All but waiting: also the time in which another thread had the core. */
  readonly busy: number;
  readonly idle: number;
  readonly garbageCollection: number;
  /** Native code without a JavaScript function above it. */
  readonly program: number;
  /** By own time, without what was called; the longest first. */
  readonly functions: readonly { readonly frame: CallFrame; readonly share: number }[];
}

/** Functions in which a thread sleeps, which a profile takes for work. */
const sleepers = [{ functionName: "wait", url: /\/src\/ring\/doorbell\.js$/ }] as const;

function isAsleep({ functionName, url }: CallFrame): boolean {
  if (functionName === "(idle)") return true;
  return sleepers.some((sleeper) => sleeper.functionName === functionName && sleeper.url.test(url));
}

/** Sums the samples within the spans, which do not overlap; over the whole profile where there is none. */
export function summarizeProfile(profile: CpuProfile, spans: readonly TimeSpan[]): ProfileSummary {
  const { startTime, endTime } = profile;
  const within = spans.length > 0 ? spans : [{ startUs: startTime, endUs: endTime }];
  const selfUs = selfTimes(profile, within);
  const byFrame = new Map<string, { frame: CallFrame; us: number }>();
  const sums = { total: 0, idle: 0, garbageCollection: 0, program: 0 };
  for (const { id, callFrame: frame } of profile.nodes) {
    const us = selfUs.get(id) ?? 0;
    sums.total += us;
    if (isAsleep(frame)) sums.idle += us;
    else if (frame.functionName === "(garbage collector)") sums.garbageCollection += us;
    else if (frame.functionName === "(program)") sums.program += us;
    else if (frame.functionName !== "(root)") {
      // One function called from several places is several nodes.
      const key = `${frame.functionName} ${frame.url}:${frame.lineNumber}:${frame.columnNumber}`;
      byFrame.set(key, { frame, us: (byFrame.get(key)?.us ?? 0) + us });
    }
  }
  const share = (us: number): number => (sums.total === 0 ? 0 : us / sums.total);
  return {
    seconds: sums.total / 1e6,
    busy: sums.total === 0 ? 0 : 1 - share(sums.idle),
    idle: share(sums.idle),
    garbageCollection: share(sums.garbageCollection),
    program: share(sums.program),
    functions: [...byFrame.values()]
      .filter(({ us }) => us > 0)
      .sort((a, b) => b.us - a.us)
      .map(({ frame, us }) => ({ frame, share: share(us) })),
  };
}

/** Microseconds by node: a sample lasts until the next one. */
function selfTimes(
  { samples, timeDeltas, startTime, endTime }: CpuProfile,
  spans: readonly TimeSpan[],
): Map<number, number> {
  const selfUs = new Map<number, number>();
  let atUs = startTime;
  for (const [index, id] of samples.entries()) {
    atUs += timeDeltas[index] ?? 0;
    const nextUs = index + 1 < samples.length ? atUs + (timeDeltas[index + 1] ?? 0) : endTime;
    const us = spans.reduce(
      (sum, span) => sum + Math.max(0, Math.min(nextUs, span.endUs) - Math.max(atUs, span.startUs)),
      0,
    );
    if (us > 0) selfUs.set(id, (selfUs.get(id) ?? 0) + us);
  }
  return selfUs;
}

/** Spans that overlap or touch made into one. */
export function joinSpans(spans: readonly TimeSpan[]): TimeSpan[] {
  const joined: TimeSpan[] = [];
  for (const span of [...spans].sort((a, b) => a.startUs - b.startUs)) {
    const last = joined.at(-1);
    if (last !== undefined && span.startUs <= last.endUs)
      joined[joined.length - 1] = { startUs: last.startUs, endUs: Math.max(last.endUs, span.endUs) };
    else joined.push(span);
  }
  return joined;
}

/** The script that a thread runs, as far as its samples tell: `stream-worker`. */
export function entryScript({ nodes }: CpuProfile, isMain: boolean): string | undefined {
  const own = nodes
    .map(({ callFrame: { url } }) => url)
    .filter((url) => url.startsWith("file:") && !url.includes("/node_modules/"));
  const wanted = isMain
    ? /\/(millrace|run|[\w-]+-(?:server|driver|endpoint))\.js$/
    : /\/([\w-]+-worker)\.js$/;
  return own.map((url) => wanted.exec(url)?.[1]).find((name) => name !== undefined);
}
