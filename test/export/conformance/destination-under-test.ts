import type { DestinationKind, ExportDefinition } from "../../../src/core/stream-definition.ts";
import type { StreamOptions } from "../../../src/core/stream-options.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import type { CleanUp } from "../../support/program.ts";

/** The stream, and its exporter, of every test of the suite. */
export const STREAM = "readings";
export const EXPORTER = "outside";

/** A kind of destination, as the suite in suite.ts tests it with a real engine. */
export interface DestinationUnderTest {
  readonly name: string;
  /** Says which cases it has: see case-table.ts. */
  readonly kind: DestinationKind;
  /** Messages of a batch, which is at most repeated after a kill or a lost answer. */
  readonly batchSize: number;
  /** Starts what is exported to; with a certificate, behind TLS. It ends with the clean-ups. */
  readonly start: (
    t: CleanUp,
    options: { readonly tls: TestCertificate | undefined },
  ) => Promise<Counterpart>;
}

/** What the engine exports to, and what the test does with it. */
export interface Counterpart {
  /** Where it listens on 127.0.0.1; undefined where it is not remote. */
  readonly port: number | undefined;
  /** Variables of the engine so that it reaches this counterpart at `port`, which may be that of a proxy before it. */
  readonly env: (reach: Reach) => Readonly<Record<string, string>>;
  /** The exporter EXPORTER of the stream STREAM. `definition` or `options` (for what the protocol does not know) holds it. */
  readonly exporter: (reach: Reach) => {
    readonly exportDefinition?: Partial<ExportDefinition>;
    readonly options?: Partial<StreamOptions>;
  };
  /** A message that is taken; each counter another. May prepare what it speaks of. */
  readonly payload: (counter: number) => Uint8Array | Promise<Uint8Array>;
  /** Case `badMessage`: one that never will be. */
  readonly badPayload?: (counter: number) => Uint8Array | Promise<Uint8Array>;
  /** The counters of the messages that it has, in the order in which they came, each as often as it came. */
  readonly arrived: () => readonly number[] | Promise<readonly number[]>;
  /** Case `throttle`: the next `requests` requests are told to come later: 429, or the service's own word. */
  readonly throttle?: (requests: number) => void;
  /** Case `someFail`: of the next `requests` requests some messages fail, the others are taken. */
  readonly failSome?: (requests: number) => void;
  /** Case `endless`: the next request is taken, and its answer has no end. */
  readonly answerEndlessly?: () => void;
  /** It answers `batches` more batches; what comes behind them is taken and never answered, until `resume`. Of what is remote. */
  readonly holdAfter?: (batches: number) => void;
  /** Requests that were taken and not answered since `holdAfter`. */
  readonly heldCount?: () => number;
  readonly resume?: () => void;
  /** Not there, as after a cut cable or a removed disk; and back again, with all that it had. */
  readonly goDown: () => void | Promise<void>;
  readonly goUp: () => void | Promise<void>;
  /** Case `remote`: while it is not there, another certificate is laid on its place. */
  readonly useCertificate?: (certificate: TestCertificate) => void;
}

export interface Reach {
  readonly port: number | undefined;
  /** Whether TLS is spoken. */
  readonly isTls: boolean;
}
