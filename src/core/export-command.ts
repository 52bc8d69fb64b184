/** What CommandExports asks of the exporters of a stream: a JSON document. */
export interface ExportCommand {
  readonly command: ExportCommandName;
  /** Of one exporter only; else of all that the stream has. */
  readonly exporter?: string;
}

/**
 * `retry`: ends the delays after failures, of the endpoints too, so that it is tried at once. `redrive`: sends what destinations
 * refused and was set aside again.
 */
export const exportCommandNames = ["retry", "redrive"] as const;
export type ExportCommandName = (typeof exportCommandNames)[number];

/** Its answer. Keys may be added in any version. */
export interface ExportCommandResult {
  /** Those that it was done for, in the order of the definition: not those that may not send. */
  readonly exporters: readonly string[];
  /** Of a redrive. */
  readonly redrive?: RedriveResult;
}

/** What a redrive that has begun sends; how far it is shows in the stream's description. */
export interface RedriveResult {
  /** The companion stream, which holds what was set aside; not there where nothing ever was. */
  readonly companion?: string | undefined;
  /** Who sends again, and how many messages. */
  readonly exporters: readonly { readonly identifier: string; readonly messages: number }[];
  /** Messages that stay where they are, and why. */
  readonly left: readonly { readonly identifier: string; readonly messages: number; readonly why: string }[];
}
