import path from "node:path";

/** Whether `place` is `directory` or below it, by their names alone: both absolute, and without links on the way. */
export function isWithin(place: string, directory: string): boolean {
  const relative = path.relative(directory, place);
  // Names like `..data` are names.
  return relative === "" || (relative !== ".." && !relative.startsWith("../") && !path.isAbsolute(relative));
}
