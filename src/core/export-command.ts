/** What CommandExports asks of the exporters of a stream: a JSON document. */
export interface ExportCommand {
  readonly command: ExportCommandName;
  /** Of one exporter only; else of all that the stream has. */
  readonly exporter?: string;
}

/** `retry`: ends the delays after failures, of the endpoints too, so that it is tried at once. */
export const exportCommandNames = ["retry"] as const;
export type ExportCommandName = (typeof exportCommandNames)[number];

/** Its answer. Keys may be added in any version. */
export interface ExportCommandResult {
  /** Those that it was done for, in the order of the definition: not those that may not send. */
  readonly exporters: readonly string[];
}
