import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LatencyHistogram } from "../../bench/latency-histogram.ts";
import type { CostedSlice, ScenarioCase } from "../../bench/scenario/slice.ts";
import { measureInTurns, messageRate, TurnRatios } from "../../bench/scenario/turns.ts";

function slice(messageCount: number): CostedSlice {
  const cost = { serverCpuS: 1, driverCpuS: 0, threads: new Map<string, number>(), writtenBytes: undefined };
  return { elapsedS: 1, messageCount, payloadBytes: 1, latencies: new LatencyHistogram(), ...cost };
}

describe("measureInTurns", () => {
  it("goes through the cases back and forth, and keeps each one's rounds in their order", async () => {
    const order: string[] = [];
    const cases = ["a", "b", "c"].map((name): ScenarioCase => {
      let measures = 0;
      return {
        name,
        start: () =>
          Promise.resolve({
            measure: () => {
              order.push(name);
              return Promise.resolve(slice(measures++));
            },
            finish: () => Promise.resolve({ rssMib: 1, bytesPerAcceptedByte: null }),
            abandon: () => Promise.resolve(),
          }),
      };
    });
    for await (const { slices } of measureInTurns(cases, 3))
      assert.deepEqual(
        slices.map(({ messageCount }) => messageCount),
        [1, 2, 3],
      );
    assert.equal(order.join(""), "abc" + "abc" + "cba" + "abc");
  });
});

describe("TurnRatios", () => {
  it("gives the median of the ratios of neighbours and each of them", () => {
    const ratios = new TurnRatios();
    ratios.add(
      "rate",
      [
        [slice(10), slice(30), slice(20)],
        [slice(10), slice(10), slice(10)],
      ],
      messageRate,
    );
    assert.deepEqual(ratios.values, { rate: 2 });
    assert.deepEqual(ratios.rounds, { rate: [1, 3, 2] });
  });

  it("gives null where a side has no such figure, and nothing where a side is missing", () => {
    const ratios = new TurnRatios();
    ratios.add("p50", [[slice(1)], [slice(1)]], ({ latencies }) => latencies.percentile(50) ?? NaN);
    ratios.add("driver", [[slice(1)], [slice(1)]], ({ serverCpuS, driverCpuS }) => serverCpuS / driverCpuS);
    ratios.add("missing", [[slice(1)], undefined], messageRate);
    assert.deepEqual(ratios.values, { p50: null, driver: null });
    assert.deepEqual(ratios.rounds, {});
  });
});
