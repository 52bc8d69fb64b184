import { fileKeyOf, flagOf, rowOf, settingKeys, type SettingKey } from "./schema.ts";

/** A setting in words, for help texts and the README. */
export interface SettingDescription {
  readonly key: SettingKey;
  readonly env: string;
  readonly flag: string;
  readonly fileKey: string;
  readonly accepts: string;
  readonly unit: string | undefined;
  readonly default: string;
  readonly doc: string;
}

/** Describes every setting in the order of the table. */
export function describeSettings(): SettingDescription[] {
  return settingKeys.map((key) => {
    const { env, kind, unit, defaultText, doc, unused, automatic } = rowOf(key);
    return {
      key,
      env,
      flag: flagOf(key),
      fileKey: fileKeyOf(key),
      accepts: automatic === undefined ? kind.accepts : `${kind.accepts}, or ${automatic}`,
      unit,
      default: defaultText === "" ? "none" : defaultText,
      doc: unused === undefined ? doc : `${doc} (no effect: ${unused})`,
    };
  });
}

/** The table of settings in Markdown. */
export function settingsMarkdown(): string {
  const head = ["| variable, flag, file key | default | takes | what it does |", "|---|---|---|---|"];
  const rows = describeSettings().map(({ env, flag, fileKey, accepts, unit, default: value, doc }) => {
    const takes = unit === undefined ? accepts : `${accepts} (${unit})`;
    return `| \`${env}\` \`${flag}\` \`${fileKey}\` | ${value} | ${takes} | ${doc} |`;
  });
  return [...head, ...rows].join("\n");
}
