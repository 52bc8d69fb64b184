import { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import { dumpCommand } from "./dump.ts";
import { repairCommand } from "./repair.ts";
import { verifyCommand } from "./verify.ts";

/** `millrace store verify|dump|repair`. */
export function storeCommand(context: CommandContext, program: { readonly version: string }): Command {
  const group = new Command("store").description("Verify, look into and repair the files of a store");
  for (const command of [verifyCommand(context), dumpCommand(context), repairCommand(context, program)])
    group.addCommand(command);
  return group;
}
