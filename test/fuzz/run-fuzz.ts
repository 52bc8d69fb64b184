// The long form, and one input again: node dist/test/fuzz/run-fuzz.js [--target NAME] [--runs N] [--seed N] [--input HEX] [--hang-ms N]
import { parseArgs } from "node:util";
import { loadTarget, targetNames } from "./all-targets.ts";
import { fuzzTarget } from "./fuzz-thread.ts";
import { tryInput } from "./fuzzer.ts";

const { values } = parseArgs({
  options: {
    target: { type: "string" },
    runs: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    input: { type: "string" },
    "hang-ms": { type: "string" },
  },
});

if (values.input !== undefined) {
  const error = tryInput(await loadTarget(values.target ?? ""), Buffer.from(values.input, "hex"));
  console.log(error === undefined ? "no promise is broken" : (error.stack ?? error.message));
  process.exitCode = error === undefined ? 0 : 1;
} else {
  const names = values.target === undefined ? targetNames : [values.target];
  for (const name of names) {
    const startedMs = performance.now();
    try {
      const { corpus, ...outcome } = await fuzzTarget({
        name,
        runs: Number(values.runs),
        seed: Number(values.seed),
        hangMs: values["hang-ms"] === undefined ? undefined : Number(values["hang-ms"]),
      });
      const seconds = (performance.now() - startedMs) / 1000;
      console.log(JSON.stringify({ ...outcome, corpus: corpus.length, seconds }));
    } catch (thrown) {
      console.log(thrown instanceof Error ? thrown.message : String(thrown));
      process.exitCode = 1;
    }
  }
}
