/** What the command line asks for is not there or not possible: the message alone says it, exit code 2. */
export class BenchUsageError extends Error {}
