/**
 * What every destination promises, tested with a real engine in a process of its own against a real counterpart. A destination is
 * plugged in by a file that calls `testDestination` with its description (destination-under-test.ts). Which cases a kind of
 * destination does not have, and why, is in case-table.ts.
 */
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { makeCertificate } from "../../support/certificates.ts";
import { testSeed } from "../../support/seeded-random.ts";
import { byLength } from "../../support/test-length.ts";
import { applies, type OptionalCase } from "./case-table.ts";
import type { Counterpart, DestinationUnderTest } from "./destination-under-test.ts";
import { ExportRun } from "./export-run.ts";
import { SharedRun } from "./shared-run.ts";
import { Storm } from "./storm.ts";

const timeout = 120_000;
const BATCHES = byLength({ everyday: 6, long: 12 });
/** Where a batch is one message, there are more batches. */
const MESSAGES_PER_BATCH_MIN = byLength({ everyday: 4, long: 20 });
const KILLS = byLength({ everyday: 1, long: 3 });
const CUTS = byLength({ everyday: 2, long: 3 });
const STORM_BLOWS = byLength({ everyday: 5, long: 30 });
/** Requests under way at the same time, in the case of several. */
const WINDOW = 4;
/** Batches that are answered before a kill, and requests that are then stored without an answer. */
const windowMoments = [
  // One window is answered, and of the next one a request.
  { answered: WINDOW + 1, throttled: 0, held: WINDOW - 1 },
  // A request of a window failed, the others are answered, and it has come again.
  { answered: WINDOW - 1, throttled: 1, held: 1 },
];
const poorLink = { delayMs: 5, bytesPerSecond: 400_000 };
const goodLink = { delayMs: 0, bytesPerSecond: Infinity };

export function testDestination(destination: DestinationUnderTest): void {
  const { name, kind, batchSize } = destination;
  const count = BATCHES * Math.max(batchSize, MESSAGES_PER_BATCH_MIN);

  describe(`export to ${name}`, () => {
    const plain = new SharedRun((cleanUp) => ExportRun.start(cleanUp, destination));
    const overTls = new SharedRun((cleanUp) => ExportRun.startOverTls(cleanUp, destination));
    after(() => plain.end());
    after(() => overTls.end());
    const cases: Cases = {
      ...{ destination, batchSize, count },
      plainly(title, body) {
        it(title, { timeout }, (t) => plain.use(t, body));
      },
      plainlyIf(optionalCase, title, body) {
        if (applies(kind, optionalCase)) this.plainly(title, body);
      },
      throughTls(title, body) {
        if (applies(kind, "remote")) it(title, { timeout }, (t) => overTls.use(t, body));
      },
    };
    testDelivery(cases);
    testKills(cases);
    testTroubles(cases);
    testLinks(cases);
    testStorm(cases);
  });
}

/** How the cases of a destination are declared, and what they have in common. */
interface Cases {
  readonly destination: DestinationUnderTest;
  readonly batchSize: number;
  /** Messages of a case. */
  readonly count: number;
  plainly(title: string, body: CaseBody): void;
  plainlyIf(optionalCase: OptionalCase, title: string, body: CaseBody): void;
  throughTls(title: string, body: CaseBody): void;
}

type CaseBody = (run: ExportRun) => Promise<void>;

function testDelivery(cases: Cases): void {
  const { destination, batchSize, count } = cases;
  cases.plainly("delivers every message once and in order", async (run) => {
    assertTable(destination, run.counterpart);
    for (let part = 0; part < 3; part += 1) await run.append(count / 3);
    await run.drain();
    assert.deepEqual(await run.arrived(), range(count));
    await run.assertAccount({ exported: count, setAside: 0 });
  });

  cases.plainlyIf("someFail", "sends again what failed of a batch, and nothing else of it", async (run) => {
    run.counterpart.failSome!(3);
    await run.append(count);
    await run.drain();
    const arrived = await run.arrived();
    assert.deepEqual(ascending(arrived), range(count), "each once");
    assert.notDeepEqual(arrived, range(count), "some failed");
    assertNoneBefore(arrived, batchSize);
    await run.assertAccount({ exported: count, setAside: 0 });
  });

  cases.plainlyIf(
    "badMessage",
    "sets a message aside that is refused for ever, and delivers the others",
    async (run) => {
      await run.append(count / 2);
      await run.appendBad();
      await run.append(count / 2);
      await run.drain();
      const good = range(count + 1).filter((counter) => counter !== count / 2);
      assert.deepEqual(distinct(await run.arrived()), good);
      await run.assertAccount({ exported: count, setAside: 1 });
    },
  );
}

function testKills(cases: Cases): void {
  const { batchSize, count } = cases;
  cases.plainly("loses nothing to kill -9, and repeats one batch at most", async (run) => {
    for (let kill = 0; kill < KILLS; kill += 1) {
      const before = (await run.arrived()).length;
      run.counterpart.holdAfter?.(2);
      await run.append(count);
      await run.until(async () => (await run.arrived()).length > before + batchSize);
      await killInTheMiddle(run, (kill + 1) * count);
    }
    await run.drain();
    const arrived = await run.arrived();
    assert.deepEqual(distinct(arrived), range(KILLS * count));
    const repeated = arrived.length - KILLS * count;
    assert.ok(repeated <= KILLS * batchSize, `${repeated} messages were repeated`);
    await run.assertAccount({ exported: KILLS * count, setAside: 0 });
  });

  cases.plainlyIf(
    "window",
    "loses nothing to kill -9 with several requests under way, and repeats so many at most",
    async (run) => {
      const windowSize = WINDOW * batchSize;
      const total = 3 * windowSize;
      await run.configure({ inFlightMax: WINDOW });
      for (let kill = 0; kill < KILLS; kill += 1) {
        const { answered, throttled, held } = windowMoments[kill % windowMoments.length]!;
        run.counterpart.throttle!(throttled);
        run.counterpart.holdAfter!(answered);
        await run.appendTogether(total);
        await run.until(() => run.counterpart.heldCount!() >= held);
        await killInTheMiddle(run, (kill + 1) * total);
        await run.drain();
      }
      await run.configure({ inFlightMax: null });
      const arrived = await run.arrived();
      assert.deepEqual(distinct(arrived), range(KILLS * total));
      const repeated = arrived.length - KILLS * total;
      assert.ok(repeated <= KILLS * windowSize, `${repeated} messages were repeated`);
      assert.ok(repeated > KILLS * batchSize, `${repeated}: the kill was in no window of several requests`);
      // Between the requests of a window there is no order; between windows there is.
      assertNoneBefore([...new Set(arrived)], windowSize);
      await run.assertAccount({ exported: KILLS * total, setAside: 0 });
    },
  );
}

function testTroubles(cases: Cases): void {
  const { batchSize, count } = cases;
  cases.plainlyIf(
    "throttle",
    "waits when it is told to slow down, says so, and delivers all",
    async (run) => {
      run.counterpart.throttle!(byLength({ everyday: 2, long: 4 }));
      await run.append(count);
      await run.untilError();
      await run.drain();
      assert.deepEqual(await run.arrived(), range(count));
      assert.equal(await run.error(), "");
      await run.assertAccount({ exported: count, setAside: 0 });
    },
  );

  cases.plainlyIf("endless", "loses nothing to an answer that has no end", async (run) => {
    run.counterpart.answerEndlessly!();
    await run.append(count);
    await run.drain();
    const arrived = await run.arrived();
    assert.deepEqual(distinct(arrived), range(count));
    assert.ok(arrived.length - count <= batchSize, `${arrived.length - count} messages were repeated`);
    await run.assertAccount({ exported: count, setAside: 0 });
  });

  cases.plainly("waits for a counterpart that is not there, and goes on where it was", async (run) => {
    await run.append(count / 2);
    await run.drain();
    await run.counterpart.goDown();
    await run.append(count / 2);
    await run.untilError();
    await run.assertAccount({});
    await run.counterpart.goUp();
    await run.drain();
    const arrived = await run.arrived();
    assert.deepEqual(distinct(arrived), range(count));
    assert.ok(arrived.length - count <= batchSize, `${arrived.length - count} messages were repeated`);
    await run.assertAccount({ exported: count, setAside: 0 });
  });
}

function testLinks(cases: Cases): void {
  const { batchSize, count } = cases;
  cases.throughTls("delivers over TLS to a counterpart that the given authority vouches for", async (run) => {
    await run.append(count);
    await run.drain();
    assert.deepEqual(await run.arrived(), range(count));
    await run.assertAccount({ exported: count, setAside: 0 });
  });

  cases.throughTls("delivers all over a slow link that is cut again and again", async (run) => {
    const { link } = run.tls;
    link.quality = poorLink;
    for (let cut = 0; cut < CUTS; cut += 1) {
      const before = link.sentBytes;
      await run.append(count / 2);
      await run.until(() => link.sentBytes > before);
      link.cut();
    }
    await run.drain();
    link.quality = goodLink;
    const total = (CUTS * count) / 2;
    const arrived = await run.arrived();
    assert.deepEqual(distinct(arrived), range(total));
    assert.ok(arrived.length - total <= CUTS * batchSize, `${arrived.length} messages arrived`);
    await run.assertAccount({ exported: total, setAside: 0 });
  });

  cases.throughTls(
    "sends nothing to a counterpart whose certificate is another's, whatever the environment says",
    async (run) => {
      const { counterpart, tls } = run;
      await counterpart.goDown();
      counterpart.useCertificate!(makeCertificate());
      await counterpart.goUp();
      await run.append(count);
      // The end of a connection that was kept may be told first.
      await run.until(async () => /certificate|self-signed|issuer/i.test(await run.error()));
      assert.deepEqual(await run.arrived(), []);
      await run.assertAccount({ exported: 0, setAside: 0 });
      await counterpart.goDown();
      counterpart.useCertificate!(tls.certificate);
      await counterpart.goUp();
      await run.drain();
      assert.deepEqual(await run.arrived(), range(count));
      await run.assertAccount({ exported: count, setAside: 0 });
    },
  );
}

function testStorm(cases: Cases): void {
  const { destination, batchSize } = cases;
  const windowMax = applies(destination.kind, "window") ? WINDOW : 1;
  cases.plainly("loses nothing when all of that comes at once", async (run) => {
    const storm = new Storm(run, { seed: testSeed, batchSize, windowMax });
    await storm.blow(STORM_BLOWS);
    await run.configure({ inFlightMax: null });
    await run.retry();
    await run.drain();
    await storm.assertPassed();
  });
}

/** The table says of each optional case what the counterpart can do. */
function assertTable({ kind }: DestinationUnderTest, counterpart: Counterpart): void {
  const able: Record<OptionalCase, boolean> = {
    someFail: counterpart.failSome !== undefined,
    badMessage: counterpart.badPayload !== undefined,
    throttle: counterpart.throttle !== undefined,
    endless: counterpart.answerEndlessly !== undefined,
    remote: counterpart.port !== undefined && counterpart.useCertificate !== undefined,
    window: applies(kind, "window") && counterpart.holdAfter !== undefined,
  };
  for (const [optionalCase, isAble] of Object.entries(able)) {
    assert.equal(isAble, applies(kind, optionalCase as OptionalCase), optionalCase);
  }
}

/** Ends the process before all of `total` messages have arrived, and goes on with the next one. */
async function killInTheMiddle(run: ExportRun, total: number): Promise<void> {
  await run.kill();
  if (run.counterpart.holdAfter !== undefined) {
    const { size } = new Set(await run.arrived());
    assert.ok(size < total, `${size} messages: the kill came after the end`);
  }
  run.counterpart.resume?.();
  await run.restart();
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function ascending(counters: readonly number[]): number[] {
  return [...counters].sort((one, other) => one - other);
}

function distinct(counters: readonly number[]): number[] {
  return ascending([...new Set(counters)]);
}

/** No message comes behind one that is `distance` or more after it. */
function assertNoneBefore(arrived: readonly number[], distance: number): void {
  let newest = -1;
  for (const counter of arrived) {
    assert.ok(counter > newest - distance, `message ${counter} came behind ${newest}`);
    newest = Math.max(newest, counter);
  }
}
