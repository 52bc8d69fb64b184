import assert from "node:assert/strict";
import { test } from "node:test";
import { parseExportMap } from "../../src/core/export-map.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { exporterSettingsOf } from "../../src/export/exporter-settings.ts";

const analytics = [
  { identifier: "a", iotChannel: "readings", iotMsgIdPrefix: "x", priority: 2, startSequenceNumber: 7 },
  { identifier: "b", iotChannel: "others", disabled: true },
];
const kinesis = [{ identifier: "k", kinesisStreamName: "readings" }];
const definition = { exportDefinition: { ...emptyExportDefinition, iotAnalytics: analytics, kinesis } };
const settingsUnder = (...rules: readonly string[]) =>
  exporterSettingsOf(definition, {}, parseExportMap(rules));

test("exporterSettingsOf says of an exporter to IoT Analytics that there is nobody, and of others nothing", () => {
  const settings = settingsUnder();
  assert.deepEqual(
    settings.map(({ destination }) => destination.kind),
    ["iotAnalytics", "iotAnalytics", "kinesis"],
  );
  for (const { notice } of settings.slice(0, 2)) {
    assert.match(notice ?? "", /^AWS ended IoT Analytics on 2025-12-15: .*MILLRACE_EXPORT_MAP$/);
  }
  assert.equal(settings[2]?.notice, undefined);
});

test("exporterSettingsOf sends an exporter where the map says, and leaves it all that it was", () => {
  const before = settingsUnder();
  const rules = ["iotAnalytics/readings=kinesis:landing", "iotAnalytics/*=http:https://collector.example/in"];
  const [first, second, third] = settingsUnder(...rules);
  assert.deepEqual(first, {
    ...before[0],
    destination: { kind: "kinesis", kinesisStreamName: "landing", partitionKey: "random" },
    endpoint: "kinesis",
    notice: "sent to kinesis:landing by MILLRACE_EXPORT_MAP",
  });
  // The id names the cursor: with the map or without it the exporter goes on where it was.
  assert.equal(first.exporterId, before[0]?.exporterId);
  assert.equal(first.kind, "iotAnalytics");
  assert.deepEqual(second, {
    ...before[1],
    destination: { kind: "http", uri: "https://collector.example/in", exportFormat: 1 },
    endpoint: "http https://collector.example",
    notice: "sent to http:https://collector.example by MILLRACE_EXPORT_MAP",
  });
  assert.equal(second.exporterId, before[1]?.exporterId);
  assert.deepEqual(third, before[2]);
});
