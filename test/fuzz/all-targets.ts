import type { FuzzTarget } from "./fuzz-target.ts";

type Group = () => Promise<readonly FuzzTarget[]>;

const wire: Group = async () => (await import("./wire-targets.ts")).wireTargets;
const own: Group = async () => [(await import("./own-layout-targets.ts")).ownLayoutTarget];
const compressed: Group = async () => [(await import("./compressed-batch-target.ts")).compressedBatchTarget];
const settings: Group = async () => (await import("./settings-targets.ts")).settingsTargets;
const smallFiles: Group = async () => (await import("./small-file-targets.ts")).smallFileTargets;
const segments: Group = async () => (await import("./segment-targets.ts")).segmentTargets;

/** Everything that takes bytes and needs no engine. Loaded one by one: an idle thread has only what it runs. */
const groups: Readonly<Record<string, Group>> = {
  cbor: wire,
  operations: wire,
  frames: wire,
  "own-layouts": own,
  "compressed-batches": compressed,
  "settings-file": settings,
  "settings-environment": settings,
  "small-files": smallFiles,
  "checked-files": smallFiles,
  segments,
  "forged-segments": segments,
};

export const targetNames: readonly string[] = Object.keys(groups);

export async function loadTarget(name: string): Promise<FuzzTarget> {
  const target = (await groups[name]?.())?.find((candidate) => candidate.name === name);
  if (target === undefined) throw new Error(`no target "${name}"; there are ${targetNames.join(", ")}`);
  return target;
}
