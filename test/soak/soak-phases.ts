/** How a phase is run: once and thoroughly, or as one of many short rounds under different seeds. */
export type SoakForm = "full" | "round";

export interface SoakPhase {
  readonly name: string;
  /** Arguments of Node.js, from dist/ on. */
  args(form: SoakForm, seed: number): readonly string[];
  readonly env: (form: SoakForm) => Readonly<Record<string, string>>;
}

const TEST = ["--enable-source-maps", "--test", "--test-concurrency=1", "--test-reporter=tap"];

function tests(name: string, files: readonly string[], env: SoakPhase["env"]): SoakPhase {
  return { name, args: () => [...TEST, ...files.map((file) => `test/${file}.test.js`)], env };
}

/** The tests of a folder in their long form; their everyday form under another seed is a round. */
function longTests(name: string, files: readonly string[]): SoakPhase {
  return tests(
    name,
    files.map((file) => `faults/${file}`),
    (form) => (form === "full" ? { MILLRACE_SOAK: "1" } : {}),
  );
}

const ENDURANCE_ROUND_SECONDS = 60;

/** One engine under everything at once, for so long: its memory and its descriptors stay what they are. */
export function endurance(seconds: number): SoakPhase {
  const env = (form: SoakForm): Record<string, string> => ({
    ENDURANCE_SECONDS: String(form === "full" ? seconds : ENDURANCE_ROUND_SECONDS),
  });
  return tests("endurance", ["soak/endurance"], env);
}

/** The long forms of tests. */
export const soakPhases: readonly SoakPhase[] = [
  {
    name: "crash states of the log",
    // The other tests of the file look for planted bugs, under seeds that find them.
    args: () => [
      ...TEST,
      "--test-name-pattern=finds no broken promise",
      "test/simulation/crash-explorer.test.js",
    ],
    env: (form) => ({ EXPLORER_STATES: form === "full" ? "1000000" : "20000" }),
  },
  tests("whole engines in one thread", ["simulation/engine/engine-simulation"], (form) => ({
    ENGINE_SEEDS: form === "full" ? "200" : "10",
  })),
  {
    name: "kill -9 under load",
    args: (form, seed) => ["test/simulation/run-kill-loop.js", form === "full" ? "1000" : "25", String(seed)],
    env: () => ({}),
  },
  longTests("a kill at every file call", ["crash-points"]),
  longTests("file calls that fail", ["failed-calls", "process-limits"]),
  longTests("damaged files", ["damaged-files", "damaged-cursors", "store-directory"]),
  longTests("power cuts", ["power-cuts"]),
  longTests("full, failing, slow and hung devices", ["full-disk", "failing-device"]),
  longTests("ended processes", ["ended-processes"]),
  tests("a Python producer whose line is cut every second", ["python/python-client"], (form) => ({
    CUT_SECONDS: form === "full" ? "60" : "8",
  })),
  // 10 million inputs together, and a million requests to an engine.
  tests("mutated inputs", ["fuzz/targets"], (form) => ({ FUZZ_FACTOR: form === "full" ? "500" : "10" })),
  tests("mutated requests to an engine", ["fuzz/engine"], (form) => ({
    FUZZ_ENGINE_INPUTS: form === "full" ? "1000000" : "30000",
  })),
];
