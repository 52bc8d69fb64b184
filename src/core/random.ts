import { randomBytes, randomInt } from "node:crypto";

/** Randomness as an argument, so that a run under a seed repeats. */
export interface Random {
  /** `length` fresh bytes. */
  bytes(length: number): Uint8Array;
  /** A number in [0, 1). */
  fraction(): number;
}

const FRACTION_STEPS = 2 ** 47;

export const systemRandom: Random = {
  bytes: (length) => randomBytes(length),
  fraction: () => randomInt(FRACTION_STEPS) / FRACTION_STEPS,
};

/** `length` random bytes as lower-case hexadecimal, for ids of streams and segments. */
export function randomHex(random: Random, length: number): string {
  return Buffer.from(random.bytes(length)).toString("hex");
}
