import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { MillraceError } from "../../src/core/errors.ts";
import type { Timers } from "../../src/core/timers.ts";
import { PortPause } from "../../src/net/port-pause.ts";
import { silentLogger } from "../../src/observe/logger.ts";

/** A port whose resumptions end when the test says so, and one timer at a time. */
class FakePort implements Timers {
  readonly calls: string[] = [];
  #settle: ((error?: Error) => void) | undefined;
  #timer: (() => void) | undefined;

  suspend(): void {
    this.calls.push("suspend");
  }
  resume(): Promise<void> {
    this.calls.push("resume");
    return new Promise((resolve, reject) => {
      this.#settle = (error) => (error === undefined ? resolve() : reject(error));
    });
  }
  async settle(error?: Error): Promise<void> {
    this.#settle?.(error);
    await turn();
  }
  setTimer(action: () => void): () => void {
    this.#timer = action;
    return () => (this.#timer = undefined);
  }
  get isRetryDue(): boolean {
    return this.#timer !== undefined;
  }
  async fire(): Promise<void> {
    const timer = this.#timer;
    this.#timer = undefined;
    timer?.();
    await turn();
  }
}

const taken = new MillraceError("INVALID_SETTING", "the port is taken");

function setUp(): { port: FakePort; pause: PortPause } {
  const port = new FakePort();
  return { port, pause: new PortPause({ port, timers: port, logger: silentLogger }) };
}

describe("PortPause", () => {
  it("tries again while somebody else has the port", async () => {
    const { port, pause } = setUp();
    pause.begin();
    pause.end();
    for (let tries = 0; tries < 3; tries++) {
      await port.settle(taken);
      await port.fire();
    }
    await port.settle();
    assert.ok(!port.isRetryDue);
    assert.deepEqual(port.calls, ["suspend", "resume", "resume", "resume", "resume"]);
  });

  it("tries no more once the port is to be left again", async () => {
    const { port, pause } = setUp();
    pause.begin();
    pause.end();
    await port.settle(taken);
    pause.begin();
    assert.ok(!port.isRetryDue);
    await port.fire();
    assert.deepEqual(port.calls, ["suspend", "resume", "suspend"]);
    pause.end();
    // And not from a try that was under way.
    pause.begin();
    await port.settle(taken);
    assert.ok(!port.isRetryDue);
    assert.deepEqual(port.calls, ["suspend", "resume", "suspend", "resume", "suspend"]);
  });

  it("takes the port where it was left and given back while it was being taken", async () => {
    const { port, pause } = setUp();
    pause.begin();
    pause.end();
    pause.begin();
    pause.end();
    await port.settle();
    assert.deepEqual(port.calls, ["suspend", "resume", "suspend", "resume"]);
    await port.settle();
    assert.deepEqual(port.calls, ["suspend", "resume", "suspend", "resume"]);
  });

  it("tries no more once it is closed", async () => {
    const { port, pause } = setUp();
    pause.begin();
    pause.end();
    await port.settle(taken);
    pause.close();
    await port.fire();
    assert.deepEqual(port.calls, ["suspend", "resume"]);
  });
});
