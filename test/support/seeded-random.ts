export { seededRandom } from "../../bench/seeded-random.ts";

/** The seed of this run: `SEED=8127 npm test` repeats one. Tests that use it name it in their failures. */
export const testSeed = Number(process.env["SEED"] ?? 20_261_123);
