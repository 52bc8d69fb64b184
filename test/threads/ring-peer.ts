// One end of a ring in a thread of its own: sends planned records, or compares what it reads with them.
import { parentPort, workerData } from "node:worker_threads";
import { Doorbell } from "../../src/ring/doorbell.ts";
import { RingReader } from "../../src/ring/ring-reader.ts";
import { RingSender } from "../../src/ring/ring-sender.ts";
import { RingWriter } from "../../src/ring/ring-writer.ts";
import { planRecords } from "./record-plan.ts";
import type { RingPeerData, RingPeerResult } from "./ring-stress.test.ts";

const { role, wait, ring, ownDoorbell, peerDoorbell, ...plan } = workerData as RingPeerData;
const doorbell = new Doorbell(ownDoorbell);
const peer = new Doorbell(peerDoorbell);
// A waitAsync alone does not keep a thread alive.
const keepAlive = setInterval(() => undefined, 60_000);
let sleepCount = 0;

/** Sleeps until rung, unless `isReady` says that there is something to do. Without a deadline: a lost wake-up hangs the test. */
async function sleep(isReady: () => boolean): Promise<void> {
  const ticket = doorbell.arm();
  if (isReady()) {
    doorbell.disarm();
    return;
  }
  sleepCount += 1;
  if (wait === "blocking") doorbell.wait(ticket, Infinity);
  else await doorbell.waitAsync(ticket, Infinity);
  doorbell.disarm();
}

async function send(): Promise<void> {
  const sender = new RingSender(new RingWriter(ring, peer));
  for (const { type, body } of planRecords(plan)) {
    let isSent = sender.send(type, body);
    while (!isSent) {
      await sleep(() => (isSent = sender.flush()));
      isSent ||= sender.flush();
    }
  }
}

async function receive(): Promise<number> {
  const reader = new RingReader(ring, peer);
  const expected = planRecords(plan);
  let receivedCount = 0;
  const onRecord = (type: number, bytes: Buffer, start: number, end: number): void => {
    const next = expected.next();
    if (next.done === true) throw new Error(`record ${receivedCount} was never sent`);
    const isSame = type === next.value.type && next.value.body.compare(bytes, start, end) === 0;
    if (!isSame) throw new Error(`record ${receivedCount} came as type ${type} with ${end - start} bytes`);
    receivedCount += 1;
  };
  while (receivedCount < plan.count) {
    if (reader.read(onRecord, 64 * 1024) === 0) await sleep(() => !reader.isEmpty);
  }
  return receivedCount;
}

const recordCount = role === "sender" ? (await send(), plan.count) : await receive();
clearInterval(keepAlive);
parentPort?.postMessage({ recordCount, sleepCount } satisfies RingPeerResult);
