import { Command } from "commander";
import { type AccessPatterns, streamRights } from "../core/access-rights.ts";
import { systemClock } from "../core/clock.ts";
import { MillraceError } from "../core/errors.ts";
import { systemRandom } from "../core/random.ts";
import type { NamedToken, NamedTokens } from "../net/named-tokens.ts";
import { UsageError, writeLine, type CommandContext } from "./command-context.ts";
import { loadStoreSettings, withStoreOptions, type StoreFlags } from "./store-options.ts";
import { countOf, formatTable, formatTime } from "./table.ts";

interface CreateFlags extends StoreFlags {
  readonly append?: readonly string[];
  readonly read?: readonly string[];
  readonly manage?: readonly string[];
  readonly metrics?: boolean;
}

const details = `
A pattern is the name of a stream in which * stands for any characters, also none. Give an option more than once for more patterns.
To append allows single messages and batches, to read allows reads and subscriptions, to manage allows to create, update and delete;
any of them allows to list and to describe the stream. Quote patterns, so that the shell leaves them alone:

  millrace tokens create camera --append 'cam-*'
  millrace tokens create uploader --read '*' --metrics

The token is printed this once; the store keeps its hash. The official clients take it from
AWS_CONTAINER_AUTHORIZATION_TOKEN, the commands and the Python client from MILLRACE_TOKEN too.`;

/** `millrace tokens create|list|revoke`. They work on the store's files, whether an engine runs or not: it sees the changes itself. */
export function tokensCommand(context: CommandContext): Command {
  const create = withStoreOptions(
    new Command("create")
      .description("Make a token and print it")
      .argument("<name>")
      .option("--append <pattern>", "streams it may append to", collect)
      .option("--read <pattern>", "streams it may read", collect)
      .option("--manage <pattern>", "streams it may create, update and delete", collect)
      .option("--metrics", "whether it may read /metrics, which tells of all streams")
      .addHelpText("after", details),
  );
  create.action((name: string, flags: CreateFlags) => createToken(context, name, flags));
  const list = withStoreOptions(
    new Command("list").description("List the tokens beside the owner's, and what they may do"),
  );
  list.action((flags: StoreFlags) => listTokens(context, flags));
  const revoke = withStoreOptions(
    new Command("revoke")
      .description("Revoke a token: connections that it opened end within moments")
      .argument("<name>"),
  );
  revoke.action((name: string, flags: StoreFlags) => revokeToken(context, name, flags));
  const group = new Command("tokens").description("Make, list and revoke the tokens of clients");
  for (const command of [create, list, revoke]) group.addCommand(command);
  return group;
}

function collect(pattern: string, before: readonly string[] = []): readonly string[] {
  return [...before, pattern];
}

async function createToken(
  { machine, stdout, stderr }: CommandContext,
  name: string,
  flags: CreateFlags,
): Promise<void> {
  const patterns = patternsOf(flags);
  const { createNamedToken } = await import("../net/named-tokens.ts");
  const { storeDirectory } = await loadStoreSettings(machine, flags);
  const platform = { random: systemRandom, clock: systemClock };
  const token = createNamedToken({ storeDirectory, name, patterns, ...platform });
  if (flags.json === true) {
    await writeLine(stdout, JSON.stringify({ name, token, ...patterns }));
    return;
  }
  await writeLine(stdout, token);
  await writeLine(stderr, `millrace: this is token ${name}; keep it, it is not shown again`);
}

function patternsOf(flags: CreateFlags): AccessPatterns {
  const { append = [], read = [], manage = [], metrics = false } = flags;
  if (append.length + read.length + manage.length === 0 && !metrics) {
    throw new UsageError("a token that may do nothing is of no use: --append, --read, --manage or --metrics");
  }
  return { append, read, manage, metrics };
}

async function listTokens({ machine, stdout }: CommandContext, flags: StoreFlags): Promise<void> {
  const { readNamedTokens } = await import("../net/named-tokens.ts");
  const { storeDirectory } = await loadStoreSettings(machine, flags);
  const found = readNamedTokens(storeDirectory);
  await writeLine(stdout, flags.json === true ? JSON.stringify(jsonOf(found)) : tableOf(found));
  const [first, ...others] = found.unreadable;
  if (first === undefined) return;
  const more = others.length === 0 ? "" : `, and ${countOf(others.length, "other")} like it`;
  throw new MillraceError("STORE_UNUSABLE", `${first.reason}${more}: it lets nobody in, and can be revoked`);
}

function jsonOf({ tokens, unreadable }: NamedTokens): object {
  return {
    tokens: tokens.map(({ name, createdMs, rights }) => ({ name, createdMs, ...rights.patterns })),
    unreadable: unreadable.map(({ name, reason }) => ({ name, reason })),
  };
}

function tableOf({ tokens }: NamedTokens): string {
  if (tokens.length === 0) return "no tokens beside the owner's";
  const row = ({ name, createdMs, rights: { patterns } }: NamedToken): string[] => [
    name,
    formatTime(createdMs),
    ...streamRights.map((right) => (patterns[right].length === 0 ? "-" : patterns[right].join("  "))),
    patterns.metrics ? "yes" : "-",
  ];
  return formatTable(["name", "created", ...streamRights, "metrics"], tokens.map(row));
}

async function revokeToken(
  { machine, stdout }: CommandContext,
  name: string,
  flags: StoreFlags,
): Promise<void> {
  const { revokeNamedToken } = await import("../net/named-tokens.ts");
  const { storeDirectory } = await loadStoreSettings(machine, flags);
  revokeNamedToken(storeDirectory, name);
  await writeLine(stdout, flags.json === true ? JSON.stringify({ revoked: name }) : `revoked ${name}`);
}
