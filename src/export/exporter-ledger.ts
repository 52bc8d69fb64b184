import type { LiveAccount } from "./live-account.ts";

/** The account of one exporter. */
export interface ExporterLedger extends LiveAccount {
  readonly streamId: string;
  readonly streamName: string;
  readonly exporterId: string;
  readonly identifier: string;
  readonly kind: string;
  readonly priority: number;
  readonly disabled: boolean;
  readonly position: number;
  /** Whatever happens, it does not need messages below this again. */
  readonly durablePosition: number;
  /** The cursor stands above the end of the log by so many messages: the log lost some that were exported. */
  readonly aheadOfLogMessages: number;
  readonly errorMessage: string;
  /** Something to be known of it that is no error; empty for nothing. */
  readonly notice: string;
  readonly inFlight: boolean;
}
