import assert from "node:assert/strict";
import { test } from "node:test";
import { Health } from "../../src/observe/health.ts";

test("Health goes from starting to ready to stopping and never back", () => {
  const health = new Health();
  assert.equal(health.snapshot().state, "starting");
  assert.equal(health.isReady, false);
  health.setReady();
  assert.equal(health.snapshot().state, "ready");
  health.setStopping();
  health.setReady();
  assert.deepEqual([health.snapshot().state, health.isReady], ["stopping", false]);
});

test("Health.whenReady calls each listener once: at readiness, or at once after it", () => {
  const health = new Health();
  const called: string[] = [];
  health.whenReady(() => called.push("waiting"));
  const takeBack = health.whenReady(() => called.push("gone"));
  takeBack();
  assert.equal(called.join(), "");
  health.setReady();
  health.setReady();
  assert.equal(called.join(), "waiting");
  health.whenReady(() => called.push("late"));
  assert.equal(called.join(), "waiting,late");
});

test("Health.whenReady does not call those who wait when the engine stops before it is ready", () => {
  const health = new Health();
  let isCalled = false;
  health.whenReady(() => (isCalled = true));
  health.setStopping();
  health.setReady();
  assert.equal(isCalled, false);
});

test("Health lists what is degraded, sorted, until it is restored", () => {
  const health = new Health();
  health.degrade("storage-read-only");
  health.degrade("clock");
  health.degrade("clock");
  assert.deepEqual(health.snapshot().reasons, ["clock", "storage-read-only"]);
  health.restore("clock");
  health.restore("never there");
  assert.deepEqual(health.snapshot().reasons, ["storage-read-only"]);
});
