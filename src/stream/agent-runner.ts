import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { Clock } from "../core/clock.ts";
import { UNPACKED_BYTES_PER_TURN_MAX } from "../core/compression-limits.ts";
import { AGENT_SLICES_PER_TURN_MAX } from "../core/limits.ts";
import { AdaptiveSpin } from "../ring/adaptive-spin.ts";
import type { Doorbell } from "../ring/doorbell.ts";
import type { StreamAgent } from "./stream-agent.ts";
import type { ControlRequest } from "./stream-channel.ts";

/**
 * Turns a thread into a loop around the agent. Idle, it blocks on the doorbell, which costs nothing and wakes fastest; while a
 * sync runs it sleeps on the event loop instead, because that is where the end of an fdatasync is told. Now and then it returns to
 * the event loop in any case: what native code has allocated, each compressed block and each batch that was unpacked, is freed
 * there only, however dead it is.
 */
export async function runAgent(options: {
  readonly agent: StreamAgent;
  readonly port: MessagePort;
  readonly doorbell: Doorbell;
  readonly clock: Clock;
}): Promise<void> {
  const { agent, port, doorbell, clock } = options;
  const spin = new AdaptiveSpin(clock);
  const hasInput = (): boolean => agent.hasInput();
  let slices = 0;
  let unpackedBytes = 0;
  while (!agent.isClosed) {
    const isBusy = agent.doWork();
    slices += 1;
    unpackedBytes += agent.takeUnpackedBytes();
    const isTurnDue = slices >= AGENT_SLICES_PER_TURN_MAX || unpackedBytes >= UNPACKED_BYTES_PER_TURN_MAX;
    if (agent.isSyncing || isTurnDue) {
      slices = unpackedBytes = 0;
      await turnOfEventLoop();
    } else if (!isBusy && agent.isTrickling && spin.poll(hasInput)) continue;
    // Armed before the last look, so that nothing can arrive unseen between the look and the sleep.
    const ticket = doorbell.arm();
    const hadControl = handleControl(agent, port);
    if (isBusy || hadControl || agent.hasInput()) {
      doorbell.disarm();
      continue;
    }
    const idleMs = agent.idleMs();
    if (agent.isSyncing) {
      await sleepOnEventLoop(agent, doorbell, ticket, idleMs);
      doorbell.disarm();
    } else {
      const sleepMs = clock.monotonicMs();
      doorbell.wait(ticket, idleMs);
      spin.observe(clock.monotonicMs() - sleepMs);
    }
  }
}

function handleControl(agent: StreamAgent, port: MessagePort): boolean {
  let hadControl = false;
  for (;;) {
    const received = receiveMessageOnPort(port) as { message: ControlRequest } | undefined;
    if (received === undefined) return hadControl;
    agent.onControl(received.message);
    hadControl = true;
  }
}

function turnOfEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function sleepOnEventLoop(
  agent: StreamAgent,
  doorbell: Doorbell,
  ticket: number,
  idleMs: number,
): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(wake, idleMs);
    function wake(): void {
      clearTimeout(timer);
      agent.onSyncSettled = undefined;
      resolve();
    }
    agent.onSyncSettled = wake;
    const rung = doorbell.waitAsync(ticket, idleMs);
    if (rung === undefined) wake();
    else void rung.then(wake);
  });
}
