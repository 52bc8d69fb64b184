import path from "node:path";
import type { StorageChange } from "../../log/change-recorder.ts";
import { countOf } from "../table.ts";

/** Changes as sentences, paths relative to `directory`; a file that was written beside and put in its place is one. */
export function changeTexts(changes: readonly StorageChange[], directory: string): string[] {
  const pathsOf = (kind: StorageChange["kind"]): ReadonlySet<string> =>
    new Set(changes.filter((change) => change.kind === kind).map((change) => change.path));
  const created = pathsOf("created");
  const renamed = pathsOf("renamed");
  const nameOf = (place: string): string => path.relative(directory, place);
  return changes.flatMap((change): string[] => {
    const name = nameOf(change.path);
    const isReplacement = created.has(change.path) && renamed.has(change.path);
    switch (change.kind) {
      case "created":
        return isReplacement ? [] : [`${name} made`];
      case "written":
        if (isReplacement) return [];
        return [`${countOf(change.sizeBytes, "byte")} written to ${name} at ${change.position}`];
      case "renamed":
        return [
          isReplacement ? `${nameOf(change.target)} replaced` : `${name} renamed to ${nameOf(change.target)}`,
        ];
      case "cut":
        return [`${name} cut from ${change.fromBytes} to ${countOf(change.toBytes, "byte")}`];
      case "removed":
        return [`${name} removed`];
      case "made directory":
        return [`directory ${name} made`];
      case "removed directory":
        return [`directory ${name} removed`];
    }
  });
}

/** The same with paths relative to `directory`. */
export function changesToJson(changes: readonly StorageChange[], directory: string): object[] {
  return changes.map((change) => ({
    ...change,
    path: path.relative(directory, change.path),
    ...(change.kind === "renamed" && { target: path.relative(directory, change.target) }),
  }));
}
