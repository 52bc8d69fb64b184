#!/usr/bin/env node
// The program. Each command is imported when it is called, so that `millrace --help` is quick on a small machine.
import { availableParallelism, homedir } from "node:os";
import { Command, CommanderError } from "commander";
import { UsageError, type CommandContext } from "./cli/command-context.ts";
import { machineMemoryBytes } from "./machine-memory.ts";
import { millraceVersion } from "./version.ts";

interface CommandEntry {
  readonly summary: string;
  /** Whether the command goes on when nobody reads its output any more. */
  readonly outlivesOutput: boolean;
  load(context: CommandContext): Promise<Command>;
}

const entries: Readonly<Record<string, CommandEntry>> = {
  serve: {
    summary: "Run the engine until SIGTERM or SIGINT",
    outlivesOutput: true,
    load: async (context) => {
      const { serveCommand } = await import("./cli/serve.ts");
      return serveCommand(context, async () => {
        const { startEngine } = await import("./serve.ts");
        return (settings) => startEngine(settings, context.machine.env);
      });
    },
  },
  demo: {
    summary: "Show the whole way, from this machine's sensors to Kinesis and back",
    outlivesOutput: true,
    load: async (context) => (await import("./cli/demo.ts")).demoCommand(context),
  },
  streams: {
    summary: "List, describe, create, update and delete streams",
    outlivesOutput: false,
    load: async (context) => (await import("./cli/streams.ts")).streamsCommand(context),
  },
  exports: {
    summary: "Look at exporters, pause and resume them, send again",
    outlivesOutput: false,
    load: async (context) => (await import("./cli/exports.ts")).exportsCommand(context),
  },
  append: {
    summary: "Append each line of standard input as one message",
    outlivesOutput: true,
    load: async (context) => (await import("./cli/append.ts")).appendCommand(context),
  },
  read: {
    summary: "Print the payloads of a stream",
    outlivesOutput: false,
    load: async (context) => (await import("./cli/read.ts")).readCommand(context),
  },
  settings: {
    summary: "Show the settings that an engine would start with, and where they come from",
    outlivesOutput: false,
    load: async (context) => (await import("./cli/settings.ts")).settingsCommand(context),
  },
  bench: {
    summary: "Measure how fast a running engine is for a client on this machine",
    // Its streams are deleted at the end.
    outlivesOutput: true,
    load: async (context) => (await import("./cli/bench.ts")).benchCommand(context),
  },
  tokens: {
    summary: "Make, list and revoke the tokens of clients",
    outlivesOutput: false,
    load: async (context) => (await import("./cli/tokens.ts")).tokensCommand(context),
  },
  store: {
    summary: "Verify, look into and repair the files of a store",
    outlivesOutput: true,
    load: async (context) => {
      const { storeCommand } = await import("./cli/store/store.ts");
      return storeCommand(context, { version: millraceVersion() });
    },
  },
  doctor: {
    summary: "Tell whether a directory is fit to hold a store, and how fast it is",
    outlivesOutput: true,
    load: async (context) => (await import("./cli/doctor/doctor.ts")).doctorCommand(context),
  },
  tune: {
    summary: "Measure this machine and tell which settings suit it",
    outlivesOutput: true,
    load: async (context) => (await import("./cli/tune/tune.ts")).tuneCommand(context),
  },
};

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

async function main(): Promise<void> {
  // The AWS SDK would print six lines about its plans for later versions of Node.js into every command's output.
  process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";
  const context: CommandContext = {
    machine: {
      env: process.env,
      homeDirectory: homedir(),
      cores: availableParallelism(),
      memoryBytes: machineMemoryBytes(),
    },
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
  };
  const [first, second] = process.argv.slice(2);
  const called = first === "help" ? second : first;
  watchOutput(entries[called ?? ""]?.outlivesOutput ?? false);
  const program = new Command("millrace")
    .description("Stream manager for edge machines: durable local streams, uploaded by priority")
    .version(millraceVersion(), "-V, --version")
    .showSuggestionAfterError(false);
  for (const [name, entry] of Object.entries(entries)) {
    if (name === called) program.addCommand(await entry.load(context));
    else program.command(name).description(entry.summary);
  }
  throwInsteadOfExit(program);
  await program.parseAsync();
}

/** Commander would end the process itself, with code 1 for a wrong command line. */
function throwInsteadOfExit(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) throwInsteadOfExit(child);
}

/** A reader that has had enough (`millrace read … | head -1`) is no failure. */
function watchOutput(outlivesOutput: boolean): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    if (!outlivesOutput) process.exit(0);
  });
  process.stderr.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });
}

function reportFailure(thrown: unknown): void {
  // Commander has written its own message, and the help or the version that was asked for.
  if (thrown instanceof CommanderError) {
    process.exitCode = thrown.exitCode === 0 ? 0 : EXIT_USAGE;
    return;
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  process.stderr.write(`millrace: ${message.replaceAll("\n", " ")}\n`);
  process.exitCode = thrown instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
}

try {
  await main();
} catch (error) {
  reportFailure(error);
}
