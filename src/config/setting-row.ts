import type { SettingKind } from "./setting-kinds.ts";

/** What a default may depend on. */
export interface Machine {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly homeDirectory: string;
  readonly cores: number;
  /** What this process may use. */
  readonly memoryBytes: number;
}

/** One setting. The flag and the file key follow from its key: `storeDirectory`, `--store-directory`, `store_directory`. */
export interface SettingRow<T, D> {
  readonly env: string;
  readonly kind: SettingKind<T>;
  readonly unit?: string;
  readonly doc: string;
  /** The default for the machine, and how the table of settings words it. */
  readonly defaultFor: (machine: Machine) => T | D;
  readonly defaultText: string;
  /** The word that stands for the default, where a setting has one. */
  readonly automatic?: string;
  /** Why setting it changes nothing in this version; said when it is set. */
  readonly unused?: string;
}

interface RowOptions<T> {
  readonly env: string;
  readonly kind: SettingKind<T>;
  readonly unit?: string;
  readonly doc: string;
  readonly automatic?: string;
  readonly unused?: string;
}

/** A row whose default is a value. */
export function row<T>(options: RowOptions<T> & { readonly default: NoInfer<T> }): SettingRow<T, never> {
  const value = options.default;
  const defaultText = Array.isArray(value) ? value.join(",") : String(value);
  return { ...options, defaultFor: () => value, defaultText };
}

/** A row whose default is to have none. */
export function optionalRow<T>(options: RowOptions<T>): SettingRow<T, undefined> {
  return { ...options, defaultFor: () => undefined, defaultText: "" };
}

/** A row whose default depends on the machine. */
export function computedRow<T>(
  options: RowOptions<T> & {
    readonly defaultFor: (machine: Machine) => T;
    readonly defaultText: string;
  },
): SettingRow<T, never> {
  return options;
}
