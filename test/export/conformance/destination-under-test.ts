import type { ExportDefinition } from "../../../src/core/stream-definition.ts";
import type { StreamOptions } from "../../../src/core/stream-options.ts";
import type { TestCertificate } from "../../support/certificates.ts";
import type { CleanUp } from "../../support/program.ts";

/** The stream, and its exporter, of every test of the suite. */
export const STREAM = "readings";
export const EXPORTER = "outside";

/** A kind of destination, as the suite in suite.ts tests it with a real engine. */
export interface DestinationUnderTest {
  readonly name: string;
  /** Messages of a batch, which is at most repeated after a kill or a lost answer. */
  readonly batchSize: number;
  /** Batches arrive one behind the other, so that without failures messages arrive in their order. */
  readonly keepsOrder: boolean;
  /** Whether an engine reaches it over TCP: then the tests of links are run. */
  readonly isRemote: boolean;
  readonly hasTls: boolean;
  /** Starts what is exported to; with a certificate, behind TLS. It ends with the test. */
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
  /** One that never will be, if there is such a thing beside what is too large. */
  readonly badPayload?: ((counter: number) => Uint8Array | Promise<Uint8Array>) | undefined;
  /** The counters of the messages that it has, in the order in which they came, each as often as it came. */
  readonly arrived: () => readonly number[] | Promise<readonly number[]>;
  /** From now on the next `requests` requests are told to come later: 429, or the service's own word. */
  readonly throttle?: ((requests: number) => void) | undefined;
  /** Of the next `requests` requests some messages fail, the others are taken. */
  readonly failSome?: ((requests: number) => void) | undefined;
  /** It takes `requests` more requests; the one behind them is taken too and never answered, nor any other until `resume`. */
  readonly holdAfter?: ((requests: number) => void) | undefined;
  readonly resume?: (() => void) | undefined;
  /** Not there, as after a cut cable or a removed disk; and back again, with all that it had. */
  readonly goDown: () => void | Promise<void>;
  readonly goUp: () => void | Promise<void>;
}

export interface Reach {
  readonly port: number | undefined;
  /** PEM file of the only authority to trust; undefined without TLS. */
  readonly authoritiesPath: string | undefined;
}
