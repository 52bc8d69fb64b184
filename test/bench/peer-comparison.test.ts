import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LatencyHistogram } from "../../bench/latency-histogram.ts";
import { behindIn, peerComparison } from "../../bench/scenario/peer-comparison.ts";
import type { CostedSlice } from "../../bench/scenario/slice.ts";

function slice(costs: Partial<CostedSlice>, latencyUs?: number): CostedSlice {
  const latencies = new LatencyHistogram();
  if (latencyUs !== undefined) latencies.add(latencyUs);
  const load = { elapsedS: 1, messageCount: 100, payloadBytes: 1000, writtenBytes: undefined };
  return { ...load, latencies, serverCpuS: 1, driverCpuS: 1, threads: new Map(), ...costs };
}

function measured(name: string, slices: readonly CostedSlice[]) {
  return { name, slices, end: { rssMib: 200, bytesPerAcceptedByte: null } };
}

describe("behindIn", () => {
  it("counts nothing within 3 % as worse, in either direction", () => {
    assert.equal(behindIn({ rate_vs_peer: 0.97, server_cpu_vs_peer: 1.03 }), "nothing");
    const worse = { rate_vs_peer: 0.969, server_cpu_vs_peer: 1.031, ack_p99_vs_peer: 0.5 };
    assert.equal(behindIn(worse), "rate, server cpu");
  });

  it("does not take what is unknown for a win", () => {
    const ratios = { rate_vs_peer: 2, written_vs_peer: null, ack_p50_vs_peer: null };
    assert.equal(behindIn(ratios), "nothing; unknown: written, ack p50");
  });

  it("does not judge what a setting of the peer decides", () => {
    assert.equal(
      behindIn({ rate_vs_peer: 0.5, rss_vs_peer: 3 }, { rssDecidedBy: "MAXLEN" }),
      "rate; not judged: rss, which MAXLEN decides",
    );
  });
});

describe("peerComparison", () => {
  const peer = measured("peer", [slice({ driverCpuS: 2 }, 10), slice({ driverCpuS: 2 }, 20)]);

  it("divides neighbouring rounds and keeps them", () => {
    const own = measured("own", [slice({ messageCount: 300 }, 40), slice({ messageCount: 100 }, 20)]);
    const { values, rounds } = peerComparison(own, peer);
    assert.equal(values["rate_vs_peer"], 2);
    assert.deepEqual(rounds?.["rate_vs_peer"], [3, 1]);
    assert.equal(values["driver_cpu_vs_peer"], 0.5);
    assert.equal(values["cpu_vs_peer"], 0.667);
    assert.equal(values["ack_p99_vs_peer"], 2.5);
    assert.equal(values["written_vs_peer"], null);
    assert.equal(values["behind_in"], "ack p50, ack p99; unknown: written");
  });

  it("leaves out what a driver takes that only writes frames made before", () => {
    const own = { ...measured("own", [slice({}, 1), slice({}, 1)]), isPreEncoded: true };
    const { values } = peerComparison(own, peer);
    assert.equal(values["server_cpu_vs_peer"], 1);
    assert.ok(!("driver_cpu_vs_peer" in values) && !("cpu_vs_peer" in values));
  });
});
