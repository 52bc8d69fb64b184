import { MillraceError } from "./errors.ts";

/** What MILLRACE_EXPORT_MAP says of exporters to a service that has ended: where they send to instead. */
export interface ExportMapRule {
  readonly kind: "iotAnalytics";
  /** Of the exporter's definition; `*` for those that no other rule names. */
  readonly channel: string;
  readonly target: ExportMapTarget;
  /** The target as it is shown. */
  readonly targetText: string;
}

export type ExportMapTarget =
  | { readonly kind: "kinesis"; readonly kinesisStreamName: string }
  | { readonly kind: "http"; readonly uri: string }
  | { readonly kind: "file"; readonly directory: string };

export const ANALYTICS_ENDED = "AWS ended IoT Analytics on 2025-12-15";
const ANY_CHANNEL = "*";
export const EXPORT_MAP_FORM =
  "iotAnalytics/<channel or *>=kinesis:<stream>, =http:<URI> or =file:<directory>, separated by commas";

const RULE = /^iotAnalytics\/([^\s=,/]{1,128})=(kinesis|http|file):(\S+)$/;
const KINESIS_STREAM = /^[a-zA-Z0-9_.-]{1,128}$/;

/** Reads the rules of MILLRACE_EXPORT_MAP. @throws {MillraceError} INVALID_SETTING, with the rule and what is wrong with it */
export function parseExportMap(rules: readonly string[]): readonly ExportMapRule[] {
  const channels = new Set<string>();
  return rules.map((rule) => {
    const [, channel = "", kind = "", value = ""] = RULE.exec(rule) ?? [];
    if (channel === "") throw invalid(rule, `must be of the form ${EXPORT_MAP_FORM}`);
    if (channels.has(channel)) throw invalid(rule, `is the second for channel ${channel}`);
    channels.add(channel);
    const target = targetOf(rule, kind, value);
    // A path or a query may hold a secret, and whoever may describe the stream is shown this.
    const shown = target.kind === "http" ? new URL(target.uri).origin : value;
    return { kind: "iotAnalytics", channel, target, targetText: `${kind}:${shown}` };
  });
}

/** The rule for a channel: its own before that for any. */
export function ruleFor(rules: readonly ExportMapRule[], channel: string): ExportMapRule | undefined {
  return rules.find((rule) => rule.channel === channel) ?? rules.find((rule) => rule.channel === ANY_CHANNEL);
}

function targetOf(rule: string, kind: string, value: string): ExportMapTarget {
  switch (kind) {
    case "kinesis":
      if (KINESIS_STREAM.test(value)) return { kind, kinesisStreamName: value };
      throw invalid(rule, "must name a Kinesis stream: 1 to 128 of A-Z a-z 0-9 _ . -");
    case "http": {
      const url = URL.canParse(value) ? new URL(value) : undefined;
      if (url !== undefined && (url.username !== "" || url.password !== "")) {
        const place = "they belong into the file of MILLRACE_EXPORT_HTTP_HEADERS";
        throw invalid(rule.slice(0, rule.indexOf("=")), `has a user name or password in its URI; ${place}`);
      }
      if (url?.protocol === "http:" || url?.protocol === "https:") return { kind, uri: value };
      throw invalid(
        rule,
        "must have a URI of http:// or https:// behind http:, as in http:https://host/path",
      );
    }
    default:
      if (value.startsWith("/") && !value.includes("\0")) return { kind: "file", directory: value };
      throw invalid(rule, "must have an absolute directory behind file:");
  }
}

const SHOWN_LENGTH_MAX = 120;

function invalid(rule: string, problem: string): MillraceError {
  const shown = rule.length <= SHOWN_LENGTH_MAX ? rule : `${rule.slice(0, SHOWN_LENGTH_MAX)}…`;
  return new MillraceError(
    "INVALID_SETTING",
    `MILLRACE_EXPORT_MAP: the rule ${JSON.stringify(shown)} ${problem}`,
  );
}
