/**
 * What every destination promises, tested with a real engine in a process of its own against a real counterpart. A destination is
 * plugged in by a file that calls `testDestination` with its description (destination-under-test.ts); what a destination cannot do
 * (`throttle`, say) is left out of its description, and the test of it with it.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it, type TestContext } from "node:test";
import { makeCertificate } from "../../support/certificates.ts";
import { BadLinkProxy } from "../../support/bad-link-proxy.ts";
import { temporaryDirectory } from "../../support/engine-process.ts";
import type { Counterpart, DestinationUnderTest } from "./destination-under-test.ts";
import { ExportRun } from "./export-run.ts";

const timeout = 120_000;
const COUNT = 240;

export function testDestination(destination: DestinationUnderTest): void {
  const { name, batchSize, keepsOrder, isRemote, hasTls } = destination;

  const start = (t: TestContext): Promise<Counterpart> => destination.start(t, { tls: undefined });
  const runTo = (t: TestContext, counterpart: Counterpart): Promise<ExportRun> =>
    ExportRun.start(t, { destination, counterpart, port: counterpart.port });

  describe(`export to ${name}`, () => {
    it("delivers every message once, and in order where it promises one", { timeout }, async (t) => {
      const counterpart = await start(t);
      const run = await runTo(t, counterpart);
      for (let from = 0; from < COUNT; from += 60) await run.append(from, from + 60);
      await run.drain();
      const arrived = await counterpart.arrived();
      assert.deepEqual(keepsOrder ? arrived : [...arrived].sort(ascending), range(COUNT));
      await run.assertAccount({ exported: COUNT, setAside: 0 });
    });

    it("sends again what failed of a batch, and nothing else of it", { timeout }, async (t) => {
      const counterpart = await start(t);
      if (counterpart.failSome === undefined) {
        t.skip("it takes a batch as a whole or not at all");
        return;
      }
      const run = await runTo(t, counterpart);
      counterpart.failSome(3);
      await run.append(0, COUNT);
      await run.drain();
      const arrived = await counterpart.arrived();
      assert.deepEqual([...arrived].sort(ascending), range(COUNT), "each once");
      if (keepsOrder) assertWithinBatches(arrived, batchSize);
      await run.assertAccount({ exported: COUNT, setAside: 0 });
    });

    it("sets a message aside that is refused for ever, and delivers the others", { timeout }, async (t) => {
      const counterpart = await start(t);
      if (counterpart.badPayload === undefined) {
        t.skip("it refuses no message");
        return;
      }
      const run = await runTo(t, counterpart);
      await run.append(0, 30);
      await run.appendBad(30);
      await run.append(31, 60);
      await run.drain();
      const good = range(60).filter((counter) => counter !== 30);
      assert.deepEqual([...new Set(await counterpart.arrived())].sort(ascending), good);
      await run.assertAccount({ exported: 59, setAside: 1 });
    });

    it("loses nothing to kill -9, and repeats one batch at most", { timeout }, async (t) => {
      const counterpart = await start(t);
      const run = await runTo(t, counterpart);
      const kills = 2;
      for (let kill = 0; kill < kills; kill += 1) {
        counterpart.holdAfter?.(2);
        const before = (await counterpart.arrived()).length;
        await run.append(kill * COUNT, (kill + 1) * COUNT);
        await run.until(async () => (await counterpart.arrived()).length > before + batchSize);
        await run.kill();
        if (counterpart.holdAfter !== undefined) {
          const { size } = new Set(await counterpart.arrived());
          assert.ok(size < (kill + 1) * COUNT, `${size} messages: the kill came after the end`);
        }
        counterpart.resume?.();
        await run.restart();
      }
      await run.drain();
      const arrived = await counterpart.arrived();
      assert.deepEqual([...new Set(arrived)].sort(ascending), range(kills * COUNT));
      const repeated = arrived.length - kills * COUNT;
      assert.ok(repeated <= kills * batchSize, `${repeated} messages were repeated`);
      await run.assertAccount({ exported: kills * COUNT, setAside: 0 });
    });

    it("waits when it is told to slow down, says so, and delivers all", { timeout }, async (t) => {
      const counterpart = await start(t);
      if (counterpart.throttle === undefined) {
        t.skip("nothing tells it to slow down");
        return;
      }
      const run = await runTo(t, counterpart);
      counterpart.throttle(4);
      await run.append(0, COUNT);
      await run.untilError();
      await run.drain();
      const arrived = await counterpart.arrived();
      assert.deepEqual(keepsOrder ? arrived : [...arrived].sort(ascending), range(COUNT));
      assert.equal(await run.error(), "");
      await run.assertAccount({ exported: COUNT, setAside: 0 });
    });

    it("waits for a counterpart that is not there, and goes on where it was", { timeout }, async (t) => {
      const counterpart = await start(t);
      const run = await runTo(t, counterpart);
      await run.append(0, 50);
      await run.drain();
      await counterpart.goDown();
      await run.append(50, COUNT);
      await run.untilError();
      await run.assertAccount({});
      await counterpart.goUp();
      await run.drain();
      const arrived = await counterpart.arrived();
      assert.deepEqual([...new Set(arrived)].sort(ascending), range(COUNT));
      assert.ok(arrived.length - COUNT <= batchSize, `${arrived.length - COUNT} messages were repeated`);
      await run.assertAccount({ exported: COUNT, setAside: 0 });
    });

    if (isRemote) {
      it("delivers all over a slow link that is cut again and again", { timeout }, async (t) => {
        const counterpart = await destination.start(t, { tls: undefined });
        const quality = { delayMs: 5, bytesPerSecond: 400_000 };
        const link = await BadLinkProxy.start(t, counterpart.port!, quality);
        const run = await ExportRun.start(t, { destination, counterpart, port: link.port });
        const cuts = 3;
        for (let cut = 0; cut < cuts; cut += 1) {
          const before = link.sentBytes;
          await run.append(((cut * COUNT) / cuts) | 0, (((cut + 1) * COUNT) / cuts) | 0);
          await run.until(() => link.sentBytes > before);
          link.cut();
        }
        await run.drain();
        const arrived = await counterpart.arrived();
        assert.deepEqual([...new Set(arrived)].sort(ascending), range(COUNT));
        assert.ok(arrived.length - COUNT <= link.cutCount * batchSize, `${arrived.length} messages arrived`);
        await run.assertAccount({ exported: COUNT, setAside: 0 });
      });
    }

    if (hasTls) {
      it(
        "delivers over TLS to a counterpart that the given authority vouches for",
        { timeout },
        async (t) => {
          const tls = makeCertificate();
          const counterpart = await destination.start(t, { tls });
          const authoritiesPath = writeAuthorities(t, tls.certificate);
          const { port } = counterpart;
          const run = await ExportRun.start(t, { destination, counterpart, port, authoritiesPath });
          await run.append(0, 50);
          await run.drain();
          assert.deepEqual([...(await counterpart.arrived())].sort(ascending), range(50));
          await run.assertAccount({ exported: 50, setAside: 0 });
        },
      );

      it(
        "sends nothing to a counterpart whose certificate is another's, whatever the environment says",
        { timeout },
        async (t) => {
          const counterpart = await destination.start(t, { tls: makeCertificate() });
          const authoritiesPath = writeAuthorities(t, makeCertificate().certificate);
          const { port } = counterpart;
          const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
          const run = await ExportRun.start(t, { destination, counterpart, port, authoritiesPath, env });
          await run.append(0, 50);
          assert.match(await run.untilError(), /certificate|self-signed|issuer/i);
          assert.deepEqual(await counterpart.arrived(), []);
          await run.assertAccount({ exported: 0, setAside: 0 });
        },
      );
    }
  });
}

function writeAuthorities(t: TestContext, certificate: string): string {
  const authoritiesPath = path.join(temporaryDirectory(t), "authorities.pem");
  writeFileSync(authoritiesPath, certificate);
  return authoritiesPath;
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

function ascending(one: number, other: number): number {
  return one - other;
}

/** A message that is sent again may arrive late within its batch, and before no message of an earlier one. */
function assertWithinBatches(arrived: readonly number[], batchSize: number): void {
  arrived.forEach((counter, index) => {
    const early = arrived.slice(index + 1).find((later) => later <= counter - batchSize);
    assert.equal(early, undefined, `message ${String(early)} came behind ${counter} of a later batch`);
  });
}
