import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, it, type TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { allocateRing } from "../../src/ring/ring-layout.ts";
import { testSeed } from "../support/seeded-random.ts";
import { byLength } from "../support/test-length.ts";

export interface RingPeerData {
  readonly role: "sender" | "receiver";
  readonly wait: "blocking" | "async";
  readonly ring: SharedArrayBuffer;
  readonly ownDoorbell: SharedArrayBuffer;
  readonly peerDoorbell: SharedArrayBuffer;
  readonly seed: number;
  readonly count: number;
}

export interface RingPeerResult {
  readonly recordCount: number;
  readonly sleepCount: number;
}

const RING_BYTES = 16 * 1024;
const RECORD_COUNT = byLength({ everyday: 300_000, long: 1_000_000 });

async function runPeer(t: TestContext, workerData: RingPeerData): Promise<RingPeerResult> {
  const worker = new Worker(new URL("./ring-peer.js", import.meta.url), { workerData });
  t.after(() => worker.terminate());
  const [result] = (await once(worker, "message")) as [RingPeerResult];
  return result;
}

describe("a ring between two threads", () => {
  for (const [sender, receiver] of [
    ["blocking", "blocking"],
    ["async", "blocking"],
    ["blocking", "async"],
  ] as const) {
    const name = `delivers ${RECORD_COUNT} records whole and in order, sender ${sender}, receiver ${receiver}`;
    it(name, { timeout: 60_000 }, async (t) => {
      const ring = allocateRing(RING_BYTES);
      const [senderDoorbell, receiverDoorbell] = [new Doorbell().memory, new Doorbell().memory];
      const plan = { ring, seed: testSeed, count: RECORD_COUNT };
      const [sent, received] = await Promise.all([
        runPeer(t, {
          ...plan,
          role: "sender",
          wait: sender,
          ownDoorbell: senderDoorbell,
          peerDoorbell: receiverDoorbell,
        }),
        runPeer(t, {
          ...plan,
          role: "receiver",
          wait: receiver,
          ownDoorbell: receiverDoorbell,
          peerDoorbell: senderDoorbell,
        }),
      ]);
      assert.equal(received.recordCount, RECORD_COUNT, `SEED=${testSeed}`);
      // A full ring and an empty one were both met, or this was no test of waking up.
      assert.ok(sent.sleepCount > 0 && received.sleepCount > 0, JSON.stringify({ sent, received }));
      t.diagnostic(JSON.stringify({ sent, received }));
    });
  }
});
