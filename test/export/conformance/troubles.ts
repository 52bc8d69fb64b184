import type { TestHttpServer } from "../../support/test-http-server.ts";
import type { Counterpart } from "./destination-under-test.ts";

/** What is to become of a request. `hold`: it is taken, and not answered. */
export type Trouble = "throttle" | "hold" | "endless" | "failSome" | undefined;

/** What a test has asked a server for, from one request to the next. */
export class Troubles {
  readonly #requestsPerBatch: number;
  #throttled = 0;
  #failing = 0;
  #isEndless = false;
  #untilHold = Infinity;
  #held = 0;

  constructor({ requestsPerBatch = 1 }: { requestsPerBatch?: number } = {}) {
    this.#requestsPerBatch = requestsPerBatch;
  }

  /** Of the request that has come. */
  next(): Trouble {
    if (this.#throttled > 0) {
      this.#throttled -= 1;
      return "throttle";
    }
    if (this.#untilHold === 0) {
      this.#held += 1;
      return "hold";
    }
    this.#untilHold -= 1;
    if (this.#isEndless) {
      this.#isEndless = false;
      return "endless";
    }
    if (this.#failing === 0) return undefined;
    this.#failing -= 1;
    return "failSome";
  }

  /** A counterpart's part of it, but for `failSome`, which not all have. */
  controls(http: TestHttpServer) {
    return {
      port: http.port,
      throttle: (requests) => {
        this.#throttled = requests;
      },
      holdAfter: (batches) => {
        this.#untilHold = batches * this.#requestsPerBatch;
        this.#held = 0;
      },
      heldCount: () => this.#held,
      resume: () => {
        this.#untilHold = Infinity;
      },
      answerEndlessly: () => {
        this.#isEndless = true;
      },
      goDown: () => http.close(),
      goUp: () => http.listen(),
      useCertificate: (certificate) => http.useCertificate(certificate),
    } satisfies Partial<Counterpart>;
  }

  readonly failSome = (requests: number): void => {
    this.#failing = requests;
  };
}
