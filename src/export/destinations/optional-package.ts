import { MillraceError, systemCode } from "../../core/errors.ts";

/** Imports a package that may not be installed. @throws {MillraceError} INVALID_REQUEST where it is not */
export async function importOptional<Module>(
  load: () => Promise<Module>,
  { name, service }: { readonly name: string; readonly service: string },
): Promise<Module> {
  try {
    return await load();
  } catch (cause) {
    if (systemCode(cause) !== "ERR_MODULE_NOT_FOUND") throw cause;
    const text = `Cannot export to ${service}: the optional package ${name} is not installed`;
    throw new MillraceError("INVALID_REQUEST", text, { cause });
  }
}
