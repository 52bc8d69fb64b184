// The kill loop by itself, for as many rounds as one has time for: `node dist/test/simulation/run-kill-loop.js 100 [seed]`.
import { testSeed } from "../support/seeded-random.ts";
import { runKillLoop } from "./kill-loop.ts";

const [rounds = "100", seed = String(testSeed)] = process.argv.slice(2);
const cleanUps: (() => unknown)[] = [];
const figures = await runKillLoop(
  { after: (cleanUp) => void cleanUps.push(cleanUp as () => unknown) },
  {
    rounds: Number(rounds),
    seed: Number(seed),
    onRound: ({ rounds: round, acknowledged, lost }) => {
      if (round % 10 === 0) console.error(`round ${round}: ${acknowledged} acknowledged, ${lost} lost`);
    },
  },
);
for (const cleanUp of cleanUps.reverse()) await cleanUp();
console.log(JSON.stringify({ ...figures, seed: Number(seed) }));
process.exitCode = figures.violations.length === 0 && figures.lost === 0 ? 0 : 1;
