import assert from "node:assert/strict";
import { test } from "node:test";
import { type MetricName, metricRows, type MetricSample } from "../../src/observe/counters.ts";
import { Health } from "../../src/observe/health.ts";
import { Metrics } from "../../src/observe/metrics.ts";
import { processSamples } from "../../src/observe/process-samples.ts";

/** One sample of every metric there is. */
function everything(): MetricSample[] {
  return (Object.keys(metricRows) as MetricName[]).map((name) => ({
    name,
    value: 2,
    labels: Object.fromEntries(metricRows[name].labels.map((label) => [label, `a "${label}"\n`])),
  }));
}

test("Metrics.render reads the providers at each scrape and keeps nothing between two", async () => {
  const metrics = new Metrics();
  let value = 3;
  const remove = metrics.addProvider(() => [
    { name: "frames_received_total", value, labels: { transport: "tcp" } },
    { name: "degraded", value },
  ]);
  metrics.addProvider(() => [{ name: "frames_received_total", value: 1, labels: { transport: "tcp" } }]);
  const first = await metrics.render();
  assert.match(first.body, /^millrace_frames_received_total\{transport="tcp"\} 4$/m);
  assert.match(first.body, /^millrace_degraded 3$/m);
  value = 5;
  const [second, third] = await Promise.all([metrics.render(), metrics.render()]);
  assert.match(second.body, /^millrace_frames_received_total\{transport="tcp"\} 6$/m);
  assert.equal(third.body, second.body);
  remove();
  const last = await metrics.render();
  assert.match(last.body, /^millrace_frames_received_total\{transport="tcp"\} 1$/m);
  assert.match(last.body, /^millrace_degraded 0$/m);
});

test("Metrics.render refuses labels that the metric's row does not name", async () => {
  const metrics = new Metrics();
  metrics.addProvider(() => [{ name: "frames_received_total", value: 1, labels: { stream: "s" } }]);
  await assert.rejects(metrics.render(), /labels of frames_received_total are transport/);
});

test("Metrics.render shows every metric, under its name, with help and type", async () => {
  const metrics = new Metrics();
  metrics.addProvider(everything);
  const { body } = await metrics.render();
  for (const [name, row] of Object.entries(metricRows)) {
    assert.ok(
      body.includes(`# HELP millrace_${name} ${row.help}\n# TYPE millrace_${name} ${row.type}\n`),
      name,
    );
    assert.match(body, new RegExp(`^millrace_${name}(\\{.*\\})? 2$`, "m"));
    assert.equal(name.endsWith("_total"), row.type === "counter", name);
  }
});

test("processSamples tells version, health, memory and time", async () => {
  const health = new Health();
  const metrics = new Metrics();
  metrics.addProvider(processSamples({ health, version: "1.2.3" }));
  const before = await metrics.render();
  assert.match(before.body, /^millrace_build_info\{version="1\.2\.3"\} 1$/m);
  assert.match(before.body, /^millrace_ready 0$/m);
  health.setReady();
  health.degrade("clock");
  const after = await metrics.render();
  assert.match(after.body, /^millrace_ready 1$/m);
  assert.match(after.body, /^millrace_degraded 1$/m);
  for (const name of ["uptime_seconds", "resident_memory_bytes", 'cpu_seconds_total{mode="user"}']) {
    const line = after.body.split("\n").find((text) => text.startsWith(`millrace_${name} `));
    assert.ok(Number(line?.split(" ").at(-1)) > 0, name);
  }
});
