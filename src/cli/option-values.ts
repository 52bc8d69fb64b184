import { InvalidArgumentError } from "commander";

/** Reads the number of an option; commander names the option in front of the message. */
export function integerOption({ min, max }: { min: number; max: number }): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be an integer from ${min} to ${max}.`);
  };
}
