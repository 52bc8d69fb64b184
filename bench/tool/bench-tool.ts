/** What a tool knows of the benches. */
export interface ToolContext {
  readonly benches: Readonly<Record<string, { readonly summary: string; readonly isMicro?: true }>>;
}

/** A command of the suite that is no bench; it takes the words behind its name. */
export type BenchTool = (args: readonly string[], context: ToolContext) => Promise<void> | void;
