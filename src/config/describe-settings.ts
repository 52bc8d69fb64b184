import { profileNames } from "./profile-name.ts";
import { profiles } from "./profiles.ts";
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

/** What the profile for small machines puts in the place of defaults, in Markdown. */
export function profileMarkdown(): string {
  const names = profileNames.filter((name) => Object.keys(profiles[name]).length > 0);
  const keys = settingKeys.filter((key) => names.some((name) => profiles[name][key] !== undefined));
  const rows = keys.map((key) => {
    const { env, unit, defaultText } = rowOf(key);
    const values = names.map((name) => String(profiles[name][key] ?? ""));
    return `| \`${env}\`${unit === undefined ? "" : ` (${unit})`} | ${defaultText === "" ? "none" : defaultText} | ${values.join(" | ")} |`;
  });
  return [
    `| variable | default | ${names.join(" | ")} |`,
    `|---|---|${"---|".repeat(names.length)}`,
    ...rows,
  ].join("\n");
}
