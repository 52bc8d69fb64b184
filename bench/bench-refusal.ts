/** What a tool does not do, with a reason that the user understands: printed without a stack. */
export class BenchRefusal extends Error {}
