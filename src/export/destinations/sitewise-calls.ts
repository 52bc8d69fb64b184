import type { SiteWiseEntry } from "./sitewise-entry.ts";

/** An entry and where it stands in the request of the exporter. */
export interface PlacedEntry {
  readonly index: number;
  readonly entry: SiteWiseEntry;
}

/**
 * Cuts a request into calls, in order, so that none holds two values of one property with the same timestamp: the service
 * answers those with ConflictingOperationException, however often they are sent.
 */
export function cutIntoCalls(entries: readonly PlacedEntry[]): PlacedEntry[][] {
  const calls: PlacedEntry[][] = [];
  let call: PlacedEntry[] = [];
  let points = new Set<string>();
  for (const placed of entries) {
    const own = pointsOf(placed.entry);
    if (call.length === 0 || own.some((point) => points.has(point))) {
      calls.push((call = []));
      points = new Set();
    }
    call.push(placed);
    for (const point of own) points.add(point);
  }
  return calls;
}

/** Two values of the entry have the same timestamp, so that it is in the way of itself. */
export function conflictsWithItself(entry: SiteWiseEntry): boolean {
  const points = pointsOf(entry);
  return new Set(points).size < points.length;
}

/** What the service lets be written once a call: a property at a time. */
function pointsOf({ assetId, propertyId, propertyAlias, propertyValues }: SiteWiseEntry): string[] {
  const property = propertyAlias === undefined ? `${assetId}\0${propertyId}` : `\0${propertyAlias}`;
  return propertyValues.map(
    ({ timestamp: { timeInSeconds, offsetInNanos = 0 } }) => `${property}\0${timeInSeconds}.${offsetInNanos}`,
  );
}

/** The ids that a call is sent with, each once: their users', but for one that another entry of the call has. */
export function entryIdsOf(call: readonly PlacedEntry[]): string[] {
  const taken = new Set(call.map(({ entry }) => entry.entryId));
  const used = new Set<string>();
  return call.map(({ entry: { entryId } }, position) => {
    let id = entryId;
    for (let number = position; used.has(id) || (id !== entryId && taken.has(id)); number += call.length) {
      id = `duplicate-${number}`;
    }
    used.add(id);
    return id;
  });
}
