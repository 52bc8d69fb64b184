import { createReadStream } from "node:fs";
import { Command } from "commander";
import { asMillraceError, MillraceError } from "../core/errors.ts";
import { CLIENT_BATCH_BYTES_DEFAULT, MESSAGE_OVERHEAD_BYTES } from "../core/limits.ts";
import { MESSAGE_LENGTH_BYTES } from "../core/message-framing.ts";
import { writeLine, type CommandContext } from "./command-context.ts";
import { withEngineOptions, type EngineFlags } from "./engine-address.ts";
import { splitLines } from "./split-lines.ts";
import { countOf } from "./table.ts";
import { withClient } from "./with-client.ts";

interface AppendFlags extends EngineFlags {
  readonly file?: string;
}

/** What `append` needs of a producer. */
interface LineProducer {
  append(payload: Uint8Array): Promise<void> | undefined;
  close(): Promise<void>;
  readonly counters: { readonly appended: number; readonly acknowledged: number; readonly resent: number };
}

/** `millrace append <stream>`. */
export function appendCommand(context: CommandContext): Command {
  const command = new Command("append")
    .description("Append each line of standard input as one message")
    .argument("<stream>")
    .option("--file <path>", "read the lines from a file")
    .addHelpText("after", "\nEmpty lines are passed over: a message has at least one byte.");
  return withEngineOptions(command).action((stream: string, flags: AppendFlags) =>
    append(context, stream, flags),
  );
}

async function append(context: CommandContext, stream: string, flags: AppendFlags): Promise<void> {
  const { file } = flags;
  await withClient(context, flags, async (client) => {
    const { definition } = await client.describeMessageStream(stream);
    const producer = await client.producer(stream, { batchBytes: batchBytesFor(definition.maxSize) });
    const input = file === undefined ? context.stdin : createReadStream(file);
    const bytes = await appendLines(producer, input);
    const { acknowledged, resent } = producer.counters;
    if (flags.json === true) {
      await writeLine(context.stdout, JSON.stringify({ stream, appended: acknowledged, bytes, resent }));
      return;
    }
    const again = resent === 0 ? "" : `, ${resent} of them sent more than once and stored once`;
    await writeLine(
      context.stdout,
      `appended ${countOf(acknowledged, "message")}, ${countOf(bytes, "byte")}, to ${stream}${again}`,
    );
  });
}

/** A batch is stored all or none, so it must fit the stream with what each of its messages costs beside its bytes. */
function batchBytesFor(maxSize: number): number {
  const costPerByteMax = (MESSAGE_OVERHEAD_BYTES + 1) / (MESSAGE_LENGTH_BYTES + 1);
  return Math.min(CLIENT_BATCH_BYTES_DEFAULT, Math.floor(maxSize / (2 * costPerByteMax)));
}

/** Appends every line that is not empty and waits for the answers. Returns the bytes of the messages. */
async function appendLines(producer: LineProducer, input: AsyncIterable<Uint8Array>): Promise<number> {
  let bytes = 0;
  try {
    for await (const lines of splitLines(input)) {
      for (const line of lines) {
        if (line.length === 0) continue;
        const whenTaken = producer.append(line);
        if (whenTaken !== undefined) await whenTaken;
        bytes += line.length;
      }
    }
    await producer.close();
  } catch (error) {
    const { appended, acknowledged } = producer.counters;
    if (appended === 0) throw error;
    const { code, message } = asMillraceError(error);
    const progress = `${acknowledged} of ${appended} messages that were sent are stored`;
    throw new MillraceError(code, `${message} (${progress})`, { cause: error });
  }
  return bytes;
}
