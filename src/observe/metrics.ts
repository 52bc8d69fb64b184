import { createRequire } from "node:module";
import type * as Prometheus from "prom-client";
import type { Counter, Gauge, Registry } from "prom-client";
import { assert } from "../core/assert.ts";
import { type MetricName, type MetricProvider, type MetricRow, metricRows } from "./counters.ts";

const NAME_PREFIX = "millrace_";

/** The text of `/metrics` and its content type. */
export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/** Collects samples from providers when asked, so that counting costs nothing beside the counting itself. */
export class Metrics {
  readonly #providers = new Set<MetricProvider>();
  #registry: LoadedRegistry | undefined;

  /** The result takes the provider out again. */
  addProvider(provider: MetricProvider): () => void {
    this.#providers.add(provider);
    return () => this.#providers.delete(provider);
  }

  /** One scrape. The first one loads prom-client (10 MiB). */
  async render(): Promise<MetricsPage> {
    this.#registry ??= loadRegistry();
    const { registry, instruments } = this.#registry;
    // No other scrape can come between: nothing is awaited before the text is asked for.
    registry.resetMetrics();
    for (const provider of this.#providers) {
      for (const sample of provider()) {
        const row: MetricRow = metricRows[sample.name];
        const labels = sample.labels ?? {};
        assert(
          Object.keys(labels).length === row.labels.length && row.labels.every((label) => label in labels),
          `labels of ${sample.name} are ${row.labels.join(", ")}`,
        );
        const instrument = instruments.get(sample.name);
        assert(instrument !== undefined, `metric ${sample.name} is registered`);
        instrument.inc(labels, sample.value);
      }
    }
    return { contentType: registry.contentType, body: await registry.metrics() };
  }
}

interface LoadedRegistry {
  readonly registry: Registry;
  readonly instruments: ReadonlyMap<MetricName, Counter | Gauge>;
}

const requireNow = createRequire(import.meta.url);

/** Not by `import`: one that fails once, for want of descriptors, fails for good. @throws the system's error */
function loadRegistry(): LoadedRegistry {
  const prometheus = requireNow("prom-client") as typeof Prometheus;
  const registry = new prometheus.Registry();
  const instruments = new Map<MetricName, Counter | Gauge>();
  for (const [name, row] of Object.entries(metricRows) as [MetricName, MetricRow][]) {
    const Instrument = row.type === "counter" ? prometheus.Counter : prometheus.Gauge;
    const options = {
      name: NAME_PREFIX + name,
      help: row.help,
      labelNames: [...row.labels],
      registers: [registry],
    };
    instruments.set(name, new Instrument(options));
  }
  return { registry, instruments };
}
