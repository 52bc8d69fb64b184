import type { MetricProvider } from "./counters.ts";
import type { Health } from "./health.ts";

/** What there is to say about the process as a whole. */
export function processSamples(options: { health: Health; version: string }): MetricProvider {
  const { health, version } = options;
  return () => {
    const { user, system } = process.cpuUsage();
    return [
      { name: "build_info", value: 1, labels: { version } },
      { name: "uptime_seconds", value: process.uptime() },
      { name: "ready", value: health.isReady ? 1 : 0 },
      { name: "degraded", value: health.snapshot().reasons.length },
      { name: "resident_memory_bytes", value: process.memoryUsage.rss() },
      { name: "cpu_seconds_total", value: user / 1e6, labels: { mode: "user" } },
      { name: "cpu_seconds_total", value: system / 1e6, labels: { mode: "system" } },
    ];
  };
}
