// `npm run soak [-- --minutes N]`: an engine under everything at once for an hour, or so many minutes.
// `npm run soak -- --phases [--minutes N] [--seed N] [--only text]`: the long forms of tests, one after the other; with
// --minutes they take turns in short rounds, each under a seed of its own, and no round begins after so many minutes.
// --only stands for --phases too.
import { spawn } from "node:child_process";
import path from "node:path";
import { parseArgs } from "node:util";
import { endurance, type SoakForm, type SoakPhase, soakPhases } from "./soak-phases.ts";

const dist = path.join(import.meta.dirname, "..", "..");
const SEED_MAX = 1_000_000;
const ENDURANCE_MINUTES_DEFAULT = 60;
const FAILURE_LINES = 60;

interface Outcome {
  readonly isPassed: boolean;
  readonly seconds: number;
  /** What the phase counted, by name. */
  readonly figures: ReadonlyMap<string, number>;
}

interface Total {
  rounds: number;
  failed: number;
  seconds: number;
  readonly figures: Map<string, number>;
}

/** Numbers of the JSON objects that tests leave as diagnostics. Worst cases stay worst cases, the rest is summed up. */
function addFigures(into: Map<string, number>, name: string, value: number): void {
  const before = into.get(name);
  if (before === undefined) into.set(name, value);
  else into.set(name, /Max|Ms$|Mib$|Share$/.test(name) ? Math.max(before, value) : before + value);
}

function figuresIn(output: string): Map<string, number> {
  const figures = new Map<string, number>();
  for (const line of output.split("\n")) {
    const [, states] = /^ *# (\d+) crash states/.exec(line) ?? [];
    if (states !== undefined) addFigures(figures, "states", Number(states));
    const [, steps, acknowledged] = /^ *# (\d+) steps, (\d+) acknowledged, seeds/.exec(line) ?? [];
    if (steps !== undefined) addFigures(figures, "steps", Number(steps));
    if (acknowledged !== undefined) addFigures(figures, "acknowledged", Number(acknowledged));
    const [, json] = /^ *(?:# )?(\{".*\})$/.exec(line) ?? [];
    if (json === undefined) continue;
    for (const [name, value] of Object.entries(JSON.parse(json) as Record<string, unknown>))
      if (typeof value === "number" && name !== "seed") addFigures(figures, name, value);
  }
  return figures;
}

async function runPhase(phase: SoakPhase, form: SoakForm, seed: number): Promise<Outcome> {
  const startedMs = performance.now();
  const env = { ...process.env, ...phase.env(form), SEED: String(seed) };
  const child = spawn(process.execPath, phase.args(form, seed), { cwd: dist, env });
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  if (code !== 0) {
    const failed = output.split("\n").filter((line) => /not ok|error:|violation/.test(line));
    console.log([...failed, ...output.split("\n").slice(-FAILURE_LINES)].join("\n"));
  }
  return {
    isPassed: code === 0,
    seconds: (performance.now() - startedMs) / 1000,
    figures: figuresIn(output),
  };
}

function textOf(figures: ReadonlyMap<string, number>): string {
  return [...figures].map(([name, value]) => `${name} ${Math.round(value * 1000) / 1000}`).join(", ");
}

/** How to have the same again. */
function commandOf(phase: SoakPhase, form: SoakForm, seed: number): string {
  const env = Object.entries({ ...phase.env(form), SEED: String(seed) }).map(
    ([name, value]) => `${name}=${value}`,
  );
  return `(cd dist && ${env.join(" ")} node ${phase.args(form, seed).join(" ")})`;
}

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seed: { type: "string" },
    only: { type: "string" },
    phases: { type: "boolean", default: false },
  },
});
const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
if (minutes !== undefined && !(minutes > 0)) throw new Error("--minutes wants a number above 0");
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * SEED_MAX));
const { only = "" } = values;
const isEndurance = !values.phases && values.only === undefined;
const phases = isEndurance
  ? [endurance((minutes ?? ENDURANCE_MINUTES_DEFAULT) * 60)]
  : soakPhases.filter(({ name }) => name.includes(only));
if (phases.length === 0) throw new Error(`no phase has "${only}" in its name`);
const form: SoakForm = isEndurance || minutes === undefined ? "full" : "round";
const deadlineMs = form === "full" ? Infinity : performance.now() + minutes! * 60_000;

const how = form === "full" ? "each once in full" : `rounds for ${minutes} minutes`;
console.log(`soak: ${phases.map(({ name }) => name).join(", ")}; seed ${firstSeed}, ${how}`);
const totals = new Map<SoakPhase, Total>();
let seed = firstSeed;
let isOver = false;
while (!isOver) {
  for (const phase of phases) {
    if (performance.now() >= deadlineMs) break;
    const { isPassed, seconds, figures } = await runPhase(phase, form, seed);
    const total = totals.get(phase) ?? { rounds: 0, failed: 0, seconds: 0, figures: new Map() };
    totals.set(phase, total);
    total.rounds += 1;
    total.failed += isPassed ? 0 : 1;
    total.seconds += seconds;
    for (const [name, value] of figures) addFigures(total.figures, name, value);
    const verdict = isPassed ? "passed" : `FAILED, again by ${commandOf(phase, form, seed)}`;
    console.log(`${phase.name}: seed ${seed}, ${Math.round(seconds)} s, ${verdict}; ${textOf(figures)}`);
    seed += 1;
  }
  isOver = form === "full" || performance.now() >= deadlineMs;
}

console.log("\nsummary");
let failed = 0;
for (const [{ name }, total] of totals) {
  failed += total.failed;
  const counts = `${total.rounds} rounds, ${total.failed} failed, ${Math.round(total.seconds)} s`;
  console.log(`  ${name}: ${counts}; ${textOf(total.figures)}`);
}
console.log(failed === 0 ? "all passed" : `${failed} FAILED`);
process.exitCode = failed === 0 ? 0 : 1;
