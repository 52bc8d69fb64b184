import { Command } from "commander";
import type { MillraceClient } from "../client/millrace-client.ts";
import type { ReceivedMessage } from "../client/subscription.ts";
import { MillraceError } from "../core/errors.ts";
import { BufferedOutput } from "./buffered-output.ts";
import { writeLine, type CommandContext } from "./command-context.ts";
import { withEngineOptions, type EngineFlags } from "./engine-address.ts";
import { integerOption } from "./option-values.ts";
import { withClient } from "./with-client.ts";

interface ReadFlags extends EngineFlags {
  readonly follow?: boolean;
  readonly from: number;
  readonly max?: number;
}

/** Messages that one request asks for; the engine bounds the bytes of its answer. */
const MESSAGES_PER_READ = 10_000;

const NEWLINE = Buffer.from("\n");

/** `millrace read <stream>`. */
export function readCommand(context: CommandContext): Command {
  const sequence = integerOption({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const command = new Command("read")
    .description("Print the payloads of a stream, a line each, up to its newest message")
    .argument("<stream>")
    .option("--follow", "go on with new messages as they arrive")
    .option("--from <sequence>", "first sequence number wanted", sequence, 0)
    .option("--max <messages>", "stop after so many", sequence)
    .addHelpText(
      "after",
      "\nWith --json each line is an object: sequence, ingestTime (Unix ms), payload (base64).",
    );
  return withEngineOptions(command).action((stream: string, flags: ReadFlags) =>
    read(context, stream, flags),
  );
}

async function read(
  { stdout, stderr, ...rest }: CommandContext,
  stream: string,
  flags: ReadFlags,
): Promise<void> {
  const format = flags.json === true ? jsonLine : payloadLine;
  const { max = Number.POSITIVE_INFINITY } = flags;
  await withClient({ stdout, stderr, ...rest }, flags, async (client) => {
    if (max === 0) return;
    const messages =
      flags.follow === true
        ? await client.subscribe(stream, { from: flags.from })
        : storedMessages(client, stream, flags.from);
    const output = new BufferedOutput(stdout);
    let expected = flags.from;
    let count = 0;
    for await (const message of messages) {
      if (message.sequence > expected) {
        await writeLine(stderr, `millrace: messages ${expected} to ${message.sequence - 1} are gone`);
      }
      expected = message.sequence + 1;
      for (const piece of format(message)) {
        const whenTaken = output.add(piece);
        if (whenTaken !== undefined) await whenTaken;
      }
      count += 1;
      if (count >= max) break;
    }
    await output.flush();
  });
}

/** From `from` on, up to what is the newest message when the reading begins. */
async function* storedMessages(
  client: MillraceClient,
  stream: string,
  from: number,
): AsyncGenerator<ReceivedMessage> {
  const { storageStatus } = await client.describeMessageStream(stream);
  const newest = storageStatus.newestSequenceNumber;
  let next = Math.max(from, storageStatus.oldestSequenceNumber);
  while (next <= newest) {
    const messages = await readSome(client, stream, next);
    for (const { sequenceNumber: sequence, ingestTime: ingestTimeMs, payload } of messages) {
      if (sequence > newest) return;
      yield { sequence, ingestTimeMs, payload };
      next = sequence + 1;
    }
    if (messages.length === 0) return;
  }
}

/** Nothing when no message is left from there on: what was the newest may be damaged, or deleted meanwhile. */
async function readSome(client: MillraceClient, stream: string, from: number) {
  try {
    const options = { desiredStartSequenceNumber: from, maxMessageCount: MESSAGES_PER_READ };
    return await client.readMessages(stream, options);
  } catch (error) {
    if (error instanceof MillraceError && error.code === "NOT_ENOUGH_MESSAGES") return [];
    throw error;
  }
}

function payloadLine({ payload }: ReceivedMessage): readonly Uint8Array[] {
  return [payload, NEWLINE];
}

function jsonLine({ sequence, ingestTimeMs, payload }: ReceivedMessage): readonly Uint8Array[] {
  const base64 = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("base64");
  return [Buffer.from(`${JSON.stringify({ sequence, ingestTime: ingestTimeMs, payload: base64 })}\n`)];
}
