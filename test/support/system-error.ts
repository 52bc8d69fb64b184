import { systemError } from "../../src/core/errors.ts";

export { systemError };

/** Fails a call that a test has planted a fault in. */
export function failIf(fault: { readonly code?: string } | undefined, call: string): void {
  if (fault !== undefined) throw systemError(fault.code ?? "EIO", call);
}
