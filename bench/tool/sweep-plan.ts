import os from "node:os";
import { loadSettings } from "../../src/config/load-settings.ts";
import { rowOf, settingKeys, type SettingKey } from "../../src/config/schema.ts";
import { MillraceError } from "../../src/core/errors.ts";
import { seededRandom } from "../seeded-random.ts";
import { BenchUsageError } from "../bench-usage-error.ts";

const COMBINATIONS_MAX = 256;
const KIB = 1024;
const sizeSuffixes: Readonly<Record<string, number>> = { k: KIB, m: KIB ** 2, g: KIB ** 3 };

/** Short names beside the keys of the settings table. */
const aliases: Readonly<Record<string, SettingKey>> = { threads: "exportThreads" };

/** What every bench sets for its engine by itself, so that a sweep of it would change nothing. */
const ownedByBenches: readonly SettingKey[] = ["storeDirectory", "port", "authenticate"];

/** One setting and the values that it takes in turn. */
export interface SweepParameter {
  /** As the user called it. */
  readonly name: string;
  readonly variable: string;
  /** What the user wrote, and what the engine is given. */
  readonly values: readonly { readonly written: string; readonly text: string }[];
}

/** One value of each parameter. */
export interface Combination {
  /** By name, as written: `{ workers: "2", blockBytes: "64k" }`. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Variables of the engine's environment. */
  readonly variables: Readonly<Record<string, string>>;
}

/** Every combination of what the words `name=values` ask for. @throws BenchUsageError on a name or a value that the engine would refuse */
export function planSweep(words: readonly string[]): Combination[] {
  const parameters = words.map(parseParameter);
  const names = parameters.map(({ variable }) => variable);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new BenchUsageError(`${twice} is swept twice`);
  let combinations: Combination[] = [{ parameters: {}, variables: {} }];
  for (const { name, variable, values } of parameters) {
    combinations = combinations.flatMap((one) =>
      values.map(({ written, text }) => ({
        parameters: { ...one.parameters, [name]: written },
        variables: { ...one.variables, [variable]: text },
      })),
    );
    if (combinations.length > COMBINATIONS_MAX)
      throw new BenchUsageError(`more than ${COMBINATIONS_MAX} combinations`);
  }
  for (const { variables } of combinations) checkSettings(variables);
  return combinations;
}

function parseParameter(word: string): SweepParameter {
  const at = word.indexOf("=");
  if (at <= 0) throw new BenchUsageError(`"${word}" is not name=values, such as workers=1..4`);
  const name = word.slice(0, at);
  const key = keyOf(name);
  const written = word
    .slice(at + 1)
    .split(",")
    .flatMap(itemsOf);
  if (written.length === 0 || written.includes("")) throw new BenchUsageError(`"${word}" has an empty value`);
  const values = written.map((item) => ({ written: item, text: textOf(key, item) }));
  return { name, variable: rowOf(key).env, values };
}

function keyOf(name: string): SettingKey {
  const key =
    settingKeys.find((one) => one === name || rowOf(one).env === name) ??
    (Object.hasOwn(aliases, name) ? aliases[name] : undefined);
  const canBeSwept = (one: SettingKey): boolean =>
    !ownedByBenches.includes(one) && rowOf(one).unused === undefined;
  if (key !== undefined && canBeSwept(key)) return key;
  const known = [...settingKeys.filter(canBeSwept), ...Object.keys(aliases)].sort();
  const reason =
    key === undefined ? "is no setting" : "cannot be swept: the benches set it, or it has no effect";
  throw new BenchUsageError(`${name} ${reason}; there are ${known.join(", ")}, and their variables`);
}

/** `1..4` for 1,2,3,4. */
function itemsOf(item: string): string[] {
  const range = /^(\d{1,15})\.\.(\d{1,15})$/.exec(item);
  if (range === null) return [item];
  const [from, to] = [Number(range[1]), Number(range[2])];
  if (to < from || to - from >= COMBINATIONS_MAX)
    throw new BenchUsageError(`${item} is no range of 1 to ${COMBINATIONS_MAX} values`);
  return Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
}

/** `64k` is 65536, where the setting takes bytes. */
function textOf(key: SettingKey, item: string): string {
  const size = /^(\d{1,12})([kmg])$/i.exec(item);
  if (size === null || rowOf(key).unit !== "bytes") return item;
  return String(Number(size[1]) * sizeSuffixes[size[2]!.toLowerCase()]!);
}

/** What the engine itself would say of its settings. */
function checkSettings(variables: Readonly<Record<string, string>>): void {
  try {
    loadSettings({
      env: { ...process.env, ...variables },
      homeDirectory: os.homedir(),
      cores: os.availableParallelism(),
      memoryBytes: os.totalmem(),
    });
  } catch (error) {
    if (error instanceof MillraceError) throw new BenchUsageError(error.message);
    throw error;
  }
}

/** All combinations in another order each round, so that a machine that drifts treats none better than the others. */
export function* sweepOrder(
  combinations: readonly Combination[],
  { rounds, seed }: { readonly rounds: number; readonly seed: number },
): Generator<{ readonly round: number; readonly combination: Combination }> {
  const random = seededRandom(seed);
  for (let round = 0; round < rounds; round++) {
    const order = [...combinations];
    for (let last = order.length - 1; last > 0; last--) {
      const other = Math.floor(random.fraction() * (last + 1));
      [order[last], order[other]] = [order[other]!, order[last]!];
    }
    for (const combination of order) yield { round, combination };
  }
}

/** `workers=2 blockBytes=64k` */
export function combinationText({ parameters }: Pick<Combination, "parameters">): string {
  return Object.entries(parameters)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}
