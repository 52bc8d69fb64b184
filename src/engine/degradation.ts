import type { Catalog } from "./catalog.ts";
import { stateOf } from "./stream-description.ts";

/** What `/readyz` tells of the streams: each that is fenced, and once for all of them what their storage does not do. */
export function degradations(catalog: Catalog): string[] {
  const reasons = new Set<string>();
  for (const entry of catalog.entries) {
    const state = stateOf(entry);
    if (state === "fenced") reasons.add(`stream-fenced:${entry.streamId}`);
    else if (state === "read-only") reasons.add("storage-read-only");
    else if (state === "disk-low") reasons.add("disk-low");
  }
  return [...reasons];
}
