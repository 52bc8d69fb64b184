import assert from "node:assert/strict";
import { test } from "node:test";
import { metricOf } from "../../bench/scenario/metrics-page.ts";

const page = `# HELP millrace_native_bindings 1 when the native addon is in use
# TYPE millrace_native_bindings gauge
millrace_native_bindings 0
millrace_stream_syncs_total{stream="a b"} 12
millrace_broken ?
`;

test("metricOf reads a value with labels and without", () => {
  assert.equal(metricOf(page, "millrace_native_bindings"), 0);
  assert.equal(metricOf(page, "millrace_stream_syncs_total"), 12);
});

test("metricOf throws where a page does not tell the metric, or tells no number", () => {
  assert.throws(() => metricOf("", "millrace_native_bindings"), /no metric millrace_native_bindings/);
  // The beginning of another name is not the name.
  assert.throws(() => metricOf(page, "millrace_stream_syncs"), /no metric millrace_stream_syncs/);
  assert.throws(() => metricOf(page, "millrace_broken"), /is "\?", no number/);
});
