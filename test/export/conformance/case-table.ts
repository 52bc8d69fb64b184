import type { DestinationKind } from "../../../src/core/stream-definition.ts";

/** The cases of suite.ts that some destination does not have. All the others every destination has. */
export type OptionalCase = "someFail" | "badMessage" | "throttle" | "endless" | "window" | "remote";

/** Which of them do not apply to which kind of destination, and why. */
export const notApplicable: Readonly<
  Partial<Record<DestinationKind, Readonly<Partial<Record<OptionalCase, string>>>>>
> = {
  file: {
    someFail: "a batch is written as a whole or not at all",
    badMessage: "a file takes every message",
    throttle: "nothing tells it to slow down",
    endless: "a write has no answer but its length",
    window: "a file grows at one end: one batch at a time, whatever inFlightMax says",
    remote: "no link leads to it",
  },
  http: {
    someFail: "one status judges a whole request",
  },
  s3TaskExecutor: {
    someFail: "a request holds one task",
    window: "an upload is kept in one file: one task at a time, whatever inFlightMax says",
  },
};

export function applies(kind: DestinationKind, optionalCase: OptionalCase): boolean {
  return notApplicable[kind]?.[optionalCase] === undefined;
}
