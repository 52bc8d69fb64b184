import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as v from "valibot";
import { describeSettings } from "../../src/config/describe-settings.ts";
import { profileNames } from "../../src/config/profile-name.ts";
import { profiles } from "../../src/config/profiles.ts";
import { fileKeyOf, flagOf, rowOf, settingKeys, type SettingKey } from "../../src/config/schema.ts";

const machine = { env: {}, homeDirectory: "/home/edge", cores: 4, memoryBytes: 2 ** 33 };

describe("settingRows", () => {
  it("gives each setting a variable, a flag and a file key of its own", () => {
    for (const names of [
      settingKeys.map((key) => rowOf(key).env),
      settingKeys.map(flagOf),
      settingKeys.map(fileKeyOf),
    ]) {
      assert.equal(new Set(names).size, settingKeys.length);
    }
  });

  it("has flags that commander turns back into the key", () => {
    for (const key of settingKeys) {
      const camelCase = flagOf(key)
        .slice(2)
        .replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
      assert.equal(camelCase, key);
    }
  });

  it("has defaults that its own schemas accept, as values and as text", () => {
    for (const key of settingKeys) {
      const { kind, defaultFor } = rowOf(key);
      const value = defaultFor(machine);
      if (value === undefined) continue;
      assert.ok(v.is(kind.schema, value), key);
      assert.ok(
        v.is(
          kind.schema,
          kind.fromText(Array.isArray(value) ? value.join(",") : `${value as string | number | boolean}`),
        ),
        `${key} as text`,
      );
    }
  });
});

describe("profiles", () => {
  it("hold values that the schemas of their settings accept", () => {
    for (const name of profileNames) {
      for (const [key, value] of Object.entries(profiles[name]))
        assert.ok(v.is(rowOf(key as SettingKey).kind.schema, value), `${name}: ${key}`);
    }
  });

  it("give the small machine less than the default does", () => {
    const { heapGrowth, workerHeapMib, ...numbers } = profiles.small;
    assert.equal(heapGrowth, false);
    assert.ok(workerHeapMib !== undefined);
    for (const [key, value] of Object.entries(numbers))
      assert.ok((value as number) < (rowOf(key as SettingKey).defaultFor(machine) as number), key);
  });
});

describe("describeSettings", () => {
  it("words every setting on one line without a full stop", () => {
    for (const { key, doc, accepts, default: value } of describeSettings()) {
      for (const words of [doc, accepts, value]) assert.match(words, /^([^\n|]*[^\n|.])$/, key);
    }
  });
});
