import { fieldOf } from "./sdk-errors.ts";

/** Counts the bodies of the requests that an AWS client makes of commands, when they go to the connection. */
export class BodyCount {
  bytes = 0;

  /** Has the requests of a command counted. */
  readonly middleware =
    <Call, Answer>(next: (call: Call) => Promise<Answer>) =>
    (call: Call): Promise<Answer> => {
      const body = fieldOf(fieldOf(call, "request"), "body");
      if (typeof body === "string" || body instanceof Uint8Array) this.bytes += Buffer.byteLength(body);
      return next(call);
    };
}

/** Where the middleware belongs: behind the signature, so that what has no credentials counts for nothing. */
export const BODY_COUNT_STEP = { step: "deserialize", name: "millraceBodyCount" } as const;
