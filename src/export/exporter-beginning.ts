import type { CursorKeeper } from "./cursor-keeper.ts";
import type { Exporter } from "./exporter.ts";

/**
 * Lets an exporter begin that its stream's definition did not name before: a position that is stored under its identifier is of
 * another, and has to be gone first. `onBegun` is called when it may send.
 */
export function beginAnew(
  exporter: Exporter,
  keeper: Pick<CursorKeeper, "read" | "forgetting">,
  onBegun: () => void,
): void {
  const { place, stream } = exporter;
  const begin = (): void => {
    const left = stream.isMemory ? undefined : keeper.read(place);
    if (left !== undefined) exporter.supersede(left);
    exporter.heldBy.delete(begin);
    onBegun();
  };
  exporter.heldBy.add(begin);
  const forgetting = keeper.forgetting(place);
  if (forgetting === undefined) begin();
  else void forgetting.then(begin);
}
