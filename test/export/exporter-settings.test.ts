import assert from "node:assert/strict";
import { test } from "node:test";
import { changeStreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";

test("exporterSettingsOf lets requests go together where a destination keeps nothing between them", () => {
  const exportDefinition = {
    ...emptyExportDefinition,
    kinesis: [{ identifier: "k", kinesisStreamName: "target" }],
    s3TaskExecutor: [{ identifier: "s3" }],
  };
  const options = changeStreamOptions(streamOptionsDefault, {
    files: [{ identifier: "f", directory: "/data" }],
    exporters: { k: { inFlightMax: 4 }, s3: { inFlightMax: 4 }, f: { inFlightMax: 4 } },
  });
  const settings = exporterSettingsOf({ exportDefinition }, options);
  assert.deepEqual(
    settings.map(({ identifier, inFlightMax }) => [identifier, inFlightMax]),
    [
      ["k", 4],
      ["s3", 1],
      ["f", 1],
    ],
  );
});

test("exporterSettingsOf gives files no cap and no share of a bandwidth that they do not use", () => {
  const options = changeStreamOptions(streamOptionsDefault, {
    files: [{ identifier: "f", directory: "/data" }],
    exporters: { f: { kbitPerSecondMax: 8, minSharePercent: 20 } },
  });
  const [settings] = exporterSettingsOf({ exportDefinition: emptyExportDefinition }, options);
  assert.deepEqual([settings!.kbitPerSecondMax, settings!.minSharePercent], [undefined, 0]);
});
