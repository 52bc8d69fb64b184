/**
 * What a start and work leave behind gathers in V8's young generation, 16 MiB of it in each thread, and stays resident there: as much
 * whatever comes afterwards, and nothing that a stream takes. With 1 MiB what lives can be seen.
 */
export const LITTLE_GARBAGE = ["--max-semi-space-size=1"];
