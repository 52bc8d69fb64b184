/**
 * How much a test does: its everyday form with `npm test`, the long one with `MILLRACE_TEST_LONG=1`, which `.ci/run` sets, and what
 * takes many minutes with `npm run soak` alone. All forms have the same cases and the same assertions, with more rounds, seeds
 * or bytes, but for a few cases that a soak alone has.
 */
export const isSoak = process.env["MILLRACE_SOAK"] === "1";
export const isLong = isSoak || process.env["MILLRACE_TEST_LONG"] === "1";

/** No test of a soak runs longer. */
export const SOAK_TIMEOUT_MS = 60 * 60_000;

/** Of a number of rounds, seeds or bytes, the one for this run. */
export function byLength<Amount>(amounts: { readonly everyday: Amount; readonly long: Amount }): Amount {
  return isLong ? amounts.long : amounts.everyday;
}
