import { Command } from "commander";
import type { MillraceClient } from "../client/millrace-client.ts";
import { asMillraceError, MillraceError } from "../core/errors.ts";
import { writeLine, type CommandContext } from "./command-context.ts";
import { describedStreams, streamNames } from "./described-streams.ts";
import { withEngineOptions, type EngineFlags } from "./engine-address.ts";
import { exporterStatuses, formatExports } from "./exports-report.ts";
import { printableText } from "./printable.ts";
import { countOf } from "./table.ts";
import { withClient } from "./with-client.ts";

/** Exporters of one stream that something was done for. */
interface Done {
  readonly stream: string;
  readonly exporters: readonly string[];
}

/** A stream of which nothing could be done, and why. */
interface Failed {
  readonly stream: string;
  readonly error: string;
}

const statusDetails = `
States: idle, sending, waiting (for its batch interval), backoff (after a failure), throttled (by a bandwidth
cap), blocked (better priorities have data, or all threads are busy), paused, disabled, stuck.

Rates are those of about the last minute. Drained, lost and full say when: if everything goes on at these
rates, all that is pending is exported, messages that were not exported begin to be overwritten or to
expire, the stream refuses appends. Times are those of the engine.`;

/** `millrace exports status|pause|resume|retry|redrive`. */
export function exportsCommand(context: CommandContext): Command {
  const group = new Command("exports").description("Look at exporters, pause and resume them, send again");
  for (const command of [
    statusCommand(context),
    changeCommand(context, {
      name: "pause",
      done: "paused",
      description: "Let an exporter send nothing until it is resumed, also over restarts; its position stays",
      act: (client, stream, exporter) => client.pauseExports(stream, exporter),
    }),
    changeCommand(context, {
      name: "resume",
      done: "resumed",
      description: "Let a paused exporter go on where it was",
      act: (client, stream, exporter) => client.resumeExports(stream, exporter),
    }),
    retryCommand(context),
    redriveCommand(context),
  ]) {
    group.addCommand(command);
  }
  return group;
}

function statusCommand(context: CommandContext): Command {
  const command = withEngineOptions(
    new Command("status")
      .description("Show what exporters do, their backlogs and errors, and what comes of it")
      .argument("[stream]", "of this stream only")
      .addHelpText("after", statusDetails),
  );
  return command.action((stream: string | undefined, flags: EngineFlags) =>
    withClient(context, flags, async (client) => {
      const described = await describedStreams(client, stream);
      const { json } = flags;
      const text = json === true ? JSON.stringify(exporterStatuses(described)) : formatExports(described);
      await writeLine(context.stdout, text);
    }),
  );
}

interface Change {
  readonly name: string;
  readonly done: string;
  readonly description: string;
  readonly act: (
    client: MillraceClient,
    stream: string,
    exporter: string | undefined,
  ) => Promise<readonly string[]>;
}

/** A command about one stream, or one exporter of it. */
function changeCommand(context: CommandContext, { name, done, description, act }: Change): Command {
  const command = withEngineOptions(
    new Command(name)
      .description(description)
      .argument("<stream>")
      .argument("[exporter]", "identifier of one; without it all of the stream"),
  );
  return command.action((stream: string, exporter: string | undefined, flags: EngineFlags) =>
    withClient(context, flags, async (client) => {
      const exporters = await act(client, stream, exporter);
      await tell(context, flags, { done, what: [{ stream, exporters }] });
    }),
  );
}

function retryCommand(context: CommandContext): Command {
  const command = withEngineOptions(
    new Command("retry")
      .description("Try at once what waits after a failure, instead of at the end of its delay")
      .argument("[stream]", "of this stream only; without it of all streams")
      .argument("[exporter]", "identifier of one; without it all that may send"),
  );
  return command.action((stream: string | undefined, exporter: string | undefined, flags: EngineFlags) =>
    withClient(context, flags, async (client) => {
      if (stream === undefined) {
        await retryAll(context, flags, client);
        return;
      }
      const exporters = await client.retryExports(stream, exporter);
      if (exporters.length === 0)
        throw new MillraceError(
          "INVALID_REQUEST",
          `Cannot retry: no exporter of stream "${stream}" may send`,
        );
      await tell(context, flags, { done: "retried", what: [{ stream, exporters }] });
    }),
  );
}

/** One stream that refuses, as for want of a right, keeps nobody from trying the others. */
async function retryAll(context: CommandContext, flags: EngineFlags, client: MillraceClient): Promise<void> {
  const what: Done[] = [];
  const failed: Failed[] = [];
  const names = await streamNames(client);
  for (const name of names) {
    try {
      const exporters = await client.retryExports(name);
      if (exporters.length > 0) what.push({ stream: name, exporters });
    } catch (thrown) {
      const { code, message } = asMillraceError(thrown);
      // Deleted meanwhile.
      if (code === "STREAM_NOT_FOUND") continue;
      if (code === "CONNECTION_CLOSED") throw thrown;
      failed.push({ stream: name, error: message });
    }
  }
  if (what.length === 0 && failed.length === 0)
    throw new MillraceError("INVALID_REQUEST", "Cannot retry: no exporter of any stream may send");
  if (what.length > 0 || flags.json === true) await tell(context, flags, { done: "retried", what, failed });
  if (failed.length === 0) return;
  for (const { error } of failed) await writeLine(context.stderr, `millrace: ${printableText(error)}`);
  const text = `Cannot retry exports of ${failed.length} of ${countOf(names.length, "stream")}`;
  throw new MillraceError("INVALID_REQUEST", text);
}

const redriveDetails = `
Messages that a destination will never take are set aside in a companion stream; streams describe names it. Mend
what it was, then send them again: those that are refused again are set aside again, and what an earlier
redrive brought through is not sent twice. The command ends when the redrive has begun.`;

function redriveCommand(context: CommandContext): Command {
  const command = withEngineOptions(
    new Command("redrive")
      .description("Send messages again that were set aside")
      .argument("<stream>")
      .argument("[exporter]", "identifier of one; without it all of the stream")
      .addHelpText("after", redriveDetails),
  );
  return command.action((stream: string, exporter: string | undefined, flags: EngineFlags) =>
    withClient(context, flags, async (client) => {
      const { exporters, left } = await client.redriveExports(stream, exporter);
      const stays = left.map(
        ({ identifier, messages, why }) => `${countOf(messages, "message")} of ${identifier} stay: ${why}`,
      );
      if (exporters.length === 0 && stays.length > 0)
        throw new MillraceError("INVALID_REQUEST", `Cannot redrive stream "${stream}": ${stays.join("; ")}`);
      const sent = exporters.map(
        ({ identifier, messages }) =>
          `redriving ${countOf(messages, "message")} of ${identifier} of ${stream}`,
      );
      const lines = sent.length > 0 ? [...sent, ...stays] : [`nothing of ${stream} is set aside`];
      const text = flags.json === true ? JSON.stringify({ stream, exporters, left }) : lines.join("\n");
      await writeLine(context.stdout, text);
    }),
  );
}

/** Says what was done. */
async function tell(
  { stdout }: CommandContext,
  { json }: EngineFlags,
  {
    done,
    what,
    failed = [],
  }: { readonly done: string; readonly what: readonly Done[]; readonly failed?: readonly Failed[] },
): Promise<void> {
  const lines = what.map(({ stream, exporters }) => `${done} ${exporters.join(", ")} of ${stream}`);
  await writeLine(
    stdout,
    json === true ? JSON.stringify({ [done]: what, ...(failed.length > 0 && { failed }) }) : lines.join("\n"),
  );
}
