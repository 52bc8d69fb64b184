import { Command } from "commander";
import type { MillraceClient } from "../client/millrace-client.ts";
import { UsageError, writeLine, type CommandContext } from "./command-context.ts";
import {
  buildStream,
  changeStream,
  withChangeOptions,
  withDefinitionOptions,
  type DefinitionFlags,
} from "./definition-options.ts";
import { describedStreams } from "./described-streams.ts";
import { withEngineOptions, type EngineFlags } from "./engine-address.ts";
import { withClient } from "./with-client.ts";
import { formatStream, formatStreams } from "./stream-report.ts";

/** `millrace streams list|describe|create|update|delete`. */
export function streamsCommand(context: CommandContext): Command {
  const list = withEngineOptions(new Command("list").description("List the streams with what they hold"));
  list.action((flags: EngineFlags) => listStreams(context, flags));
  const describe = withEngineOptions(
    new Command("describe")
      .description("Show definition, storage, exporters of a stream, and where every message went")
      .argument("<stream>"),
  );
  describe.action((name: string, flags: EngineFlags) => describeStream(context, name, flags));
  const create = withEngineOptions(
    withDefinitionOptions(new Command("create").description("Create a stream").argument("<stream>")),
  );
  create.action((name: string, flags: EngineFlags & DefinitionFlags) => createStream(context, name, flags));
  const update = withEngineOptions(
    withChangeOptions(
      new Command("update")
        .description("Change a stream: what the options name, and nothing else")
        .argument("<stream>"),
    ),
  );
  update.action((name: string, flags: EngineFlags & DefinitionFlags) => updateStream(context, name, flags));
  const remove = withEngineOptions(
    new Command("delete").description("Delete a stream and all its messages").argument("<stream>"),
  );
  remove.action((name: string, flags: EngineFlags) => deleteStream(context, name, flags));
  const group = new Command("streams").description("List, describe, create, update and delete streams");
  for (const command of [list, describe, create, update, remove]) group.addCommand(command);
  return group;
}

async function listStreams(context: CommandContext, flags: EngineFlags): Promise<void> {
  await withClient(context, flags, async (client) => {
    const streams = await describedStreams(client, undefined);
    const text = flags.json === true ? JSON.stringify(streams) : formatStreams(streams);
    await writeLine(context.stdout, text);
  });
}

async function describeStream(context: CommandContext, name: string, flags: EngineFlags): Promise<void> {
  await withClient(context, flags, async (client) => {
    const stream = await client.describeStream(name);
    const text = flags.json === true ? JSON.stringify(stream) : formatStream(stream);
    await writeLine(context.stdout, text);
  });
}

async function createStream(
  context: CommandContext,
  name: string,
  flags: EngineFlags & DefinitionFlags,
): Promise<void> {
  const { definition, options } = buildStream(name, flags);
  await change(context, flags, { created: name }, (client) =>
    client.createMessageStream(definition, options),
  );
}

const ENGINE_FLAGS = new Set(["url", "config", "json"]);

async function updateStream(
  context: CommandContext,
  name: string,
  flags: EngineFlags & DefinitionFlags,
): Promise<void> {
  const isChange = Object.keys(flags).some((flag) => !ENGINE_FLAGS.has(flag));
  if (!isChange) throw new UsageError("nothing to change: name at least one option");
  await change(context, flags, { updated: name }, async (client) => {
    const { definition, options } = changeStream(await client.describeStream(name), flags);
    await client.updateMessageStream(definition, options);
  });
}

async function deleteStream(context: CommandContext, name: string, flags: EngineFlags): Promise<void> {
  await change(context, flags, { deleted: name }, (client) => client.deleteMessageStream(name));
}

/** Does it, and says so. */
async function change(
  context: CommandContext,
  flags: EngineFlags,
  done: Readonly<Record<string, string>>,
  act: (client: MillraceClient) => Promise<void>,
): Promise<void> {
  await withClient(context, flags, async (client) => {
    await act(client);
    const [words] = Object.entries(done);
    await writeLine(context.stdout, flags.json === true ? JSON.stringify(done) : words!.join(" "));
  });
}
