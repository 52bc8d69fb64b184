import { Command } from "commander";
import type { MessageStreamInfo } from "../core/stream-definition.ts";
import { writeLine, type CommandContext } from "./command-context.ts";
import { buildDefinition, withDefinitionOptions, type DefinitionFlags } from "./definition-options.ts";
import { withEngineOptions, type EngineFlags } from "./engine-address.ts";
import { withClient } from "./with-client.ts";
import { formatStream, formatStreams } from "./stream-report.ts";

/** `millrace streams list|describe|create|delete`. */
export function streamsCommand(context: CommandContext): Command {
  const list = withEngineOptions(new Command("list").description("List the streams with what they hold"));
  list.action((flags: EngineFlags) => listStreams(context, flags));
  const describe = withEngineOptions(
    new Command("describe")
      .description("Show definition, storage and exporters of a stream")
      .argument("<stream>"),
  );
  describe.action((name: string, flags: EngineFlags) => describeStream(context, name, flags));
  const create = withEngineOptions(
    withDefinitionOptions(new Command("create").description("Create a stream").argument("<stream>")),
  );
  create.action((name: string, flags: EngineFlags & DefinitionFlags) => createStream(context, name, flags));
  const remove = withEngineOptions(
    new Command("delete").description("Delete a stream and all its messages").argument("<stream>"),
  );
  remove.action((name: string, flags: EngineFlags) => deleteStream(context, name, flags));
  const group = new Command("streams").description("List, describe, create and delete streams");
  for (const command of [list, describe, create, remove]) group.addCommand(command);
  return group;
}

async function listStreams(context: CommandContext, flags: EngineFlags): Promise<void> {
  await withClient(context, flags, async (client) => {
    const infos: MessageStreamInfo[] = [];
    for (const name of [...(await client.listStreams())].sort()) {
      infos.push(await client.describeMessageStream(name));
    }
    await writeLine(context.stdout, flags.json === true ? JSON.stringify(infos) : formatStreams(infos));
  });
}

async function describeStream(context: CommandContext, name: string, flags: EngineFlags): Promise<void> {
  await withClient(context, flags, async (client) => {
    const info = await client.describeMessageStream(name);
    await writeLine(context.stdout, flags.json === true ? JSON.stringify(info) : formatStream(info));
  });
}

async function createStream(
  context: CommandContext,
  name: string,
  flags: EngineFlags & DefinitionFlags,
): Promise<void> {
  const definition = buildDefinition(name, flags);
  await withClient(context, flags, async (client) => {
    await client.createMessageStream(definition);
    await writeLine(
      context.stdout,
      flags.json === true ? JSON.stringify({ created: name }) : `created ${name}`,
    );
  });
}

async function deleteStream(context: CommandContext, name: string, flags: EngineFlags): Promise<void> {
  await withClient(context, flags, async (client) => {
    await client.deleteMessageStream(name);
    await writeLine(
      context.stdout,
      flags.json === true ? JSON.stringify({ deleted: name }) : `deleted ${name}`,
    );
  });
}
