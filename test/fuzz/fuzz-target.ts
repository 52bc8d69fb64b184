/** Something that takes any bytes, and what it must keep doing with them. */
export interface FuzzTarget {
  readonly name: string;
  /** Compiled sources under dist/: their coverage guides, and their literals are the dictionary. Files, or folders ending in `/`. */
  readonly sources: readonly string[];
  readonly inputBytesMax: number;
  /** How many inputs take about as long as V8 takes to count what ran, for which it walks its heap. */
  readonly inputsPerCount: number;
  /** Inputs that get far by themselves. */
  seeds(): readonly Uint8Array[];
  /** Bytes of array buffers that one input may make it allocate. */
  allocatedBytesMax(input: Uint8Array): number;
  /** Throws where a promise does not hold. What the input may rightly be refused with is caught here. */
  run(input: Uint8Array): void;
}

/** How much a target that unpacks nothing may allocate: a partial frame's first buffer, and a multiple of what came. */
export function plainAllocation(input: Uint8Array): number {
  return 256 * 1024 + 64 * input.length;
}
