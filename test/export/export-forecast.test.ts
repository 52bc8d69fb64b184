import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  forecastDrained,
  forecastFull,
  forecastLoss,
  type ForecastExporter,
  type ForecastStream,
} from "../../src/export/export-forecast.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { seededRandom } from "../support/seeded-random.ts";

/** Messages of 976 bytes of payload count as 1000 each, so that the sums below are round. */
const rate = (messagesPerSecond: number) => ({
  messagesPerSecond,
  bytesPerSecond: 976 * messagesPerSecond,
});
const pendingOf = (messages: number) => ({ messages, payloadBytes: 976 * messages });

/** A thousand messages fit; a hundred are there, ten come a second. */
const rejecting: ForecastStream = {
  maxSizeBytes: 1_000_000,
  segmentBytes: 100_000,
  totalBytes: 100_000,
  messageBytes: 1000,
  strategyOnFull: StrategyOnFull.RejectNewData,
  timeToLiveMs: undefined,
  freeExported: false,
  appended: rate(10),
  diskFullInMs: undefined,
};
const overwriting: ForecastStream = { ...rejecting, strategyOnFull: StrategyOnFull.OverwriteOldestData };

/** Behind by fifty messages, which arrived over a minute. */
const behind: ForecastExporter = {
  disabled: false,
  canSend: true,
  isFailing: false,
  pending: pendingOf(50),
  oldestPendingAgeMs: 60_000,
  batchIntervalMs: undefined,
  exported: rate(4),
};
const stopped: ForecastExporter = { ...behind, exported: rate(0) };
const ahead: ForecastExporter = { ...behind, pending: pendingOf(0), oldestPendingAgeMs: undefined };

describe("forecastFull", () => {
  const cases: [what: string, ForecastStream, ForecastExporter[], number | undefined][] = [
    ["room divided by what arrives", rejecting, [], 90_000],
    ["never while nothing arrives", { ...rejecting, appended: rate(0) }, [], undefined],
    ["never of a stream that overwrites", overwriting, [], undefined],
    ["now where one more message does not fit", { ...rejecting, totalBytes: 999_500 }, [], 0],
    [
      "now although nothing is taken any more",
      { ...rejecting, totalBytes: 999_500, appended: rate(0) },
      [],
      0,
    ],
    ["exporters change nothing where what they passed stays", rejecting, [ahead], 90_000],
    [
      "never where exporters keep up and their messages are freed",
      { ...rejecting, freeExported: true },
      [ahead],
      undefined,
    ],
    // 50 messages and a segment are 150; the stream has only 100.
    [
      "by the slowest exporter where what all have passed is freed",
      { ...rejecting, freeExported: true },
      [ahead, behind],
      150_000,
    ],
    [
      "a backlog below what is stored counts with one segment",
      { ...rejecting, freeExported: true, totalBytes: 600_000 },
      [behind],
      // (1000 - 50 - 100) / (10 - 4)
      141_667,
    ],
    [
      "a paused exporter holds everything",
      { ...rejecting, freeExported: true },
      [{ ...behind, canSend: false }],
      90_000,
    ],
    [
      "a disabled exporter holds nothing, and without an enabled one nothing is freed",
      { ...rejecting, freeExported: true },
      [{ ...stopped, disabled: true, canSend: false }],
      90_000,
    ],
    [
      "a disabled exporter beside one that keeps up",
      { ...rejecting, freeExported: true },
      [{ ...stopped, disabled: true, canSend: false }, ahead],
      undefined,
    ],
    [
      "never where messages expire before the room is used up",
      { ...rejecting, timeToLiveMs: 60_000 },
      [],
      undefined,
    ],
    ["as without a time to live where they do not", { ...rejecting, timeToLiveMs: 95_000 }, [], 90_000],
    ["when the disk is, if that is first", { ...rejecting, diskFullInMs: 30_000 }, [], 30_000],
    ["not when the disk is, if that is later", { ...rejecting, diskFullInMs: 300_000 }, [], 90_000],
    ["now on a disk that is short now", { ...rejecting, diskFullInMs: 0 }, [], 0],
    ["never beyond the horizon", { ...rejecting, appended: rate(1e-9) }, [], undefined],
  ];
  for (const [what, stream, exporters, expected] of cases) {
    it(what, () => assert.equal(forecastFull(stream, exporters), expected));
  }
});

describe("forecastLoss", () => {
  const expiring: ForecastStream = { ...rejecting, timeToLiveMs: 300_000 };
  const cases: [what: string, ForecastStream, ForecastExporter, number | undefined][] = [
    ["never of a stream that rejects and keeps for ever", rejecting, stopped, undefined],
    ["when the end that is overwritten meets a stopped exporter", overwriting, stopped, 90_000],
    // Full after 90 s; the exporter, at 4/s of 10/s, is then 1000 - 100 - 50 = 850 ahead less 6/s.
    ["later for one that goes on, but too slowly", overwriting, behind, 141_667],
    [
      "never for one that is faster than what arrives",
      overwriting,
      { ...behind, exported: rate(11) },
      undefined,
    ],
    ["never for one that is ahead", overwriting, ahead, undefined],
    [
      "when the next segment goes, where that reaches into the backlog",
      { ...overwriting, totalBytes: 990_000 },
      { ...behind, pending: pendingOf(950), exported: rate(20) },
      1000,
    ],
    ["never while nothing arrives", { ...overwriting, appended: rate(0) }, stopped, undefined],
    ["for one that is paused with nothing pending too", overwriting, { ...ahead, canSend: false }, 90_000],
    ["when a short disk begins to be overwritten", { ...overwriting, diskFullInMs: 0 }, stopped, 0],
    ["when the oldest message expires, for one that stands still", expiring, stopped, 240_000],
    [
      "at once where it has expired, a backlog older than the time to live",
      expiring,
      { ...stopped, oldestPendingAgeMs: 300_000 },
      0,
    ],
    // It sends 0.1/s of 50 messages that came over 60 s: each second it gains 0.12 s.
    ["later where the exporter gains on it", expiring, { ...stopped, exported: rate(0.1) }, 272_727],
    // 50 messages are gone after 12.5 s; then a message waits for 5 s + 0.6 t.
    ["in what has not arrived yet, where the backlog is passed before", expiring, behind, 491_667],
    ["never where the exporter keeps its distance", expiring, { ...behind, exported: rate(10) }, undefined],
    [
      "a whole time to live away for one that is paused with nothing pending",
      expiring,
      { ...ahead, canSend: false },
      300_000,
    ],
    [
      "never where nothing is pending and nothing arrives",
      { ...expiring, appended: rate(0) },
      { ...ahead, canSend: false },
      undefined,
    ],
    ["of pending messages also where nothing arrives", { ...expiring, appended: rate(0) }, stopped, 240_000],
    [
      "by an estimate where the age is not known",
      expiring,
      { ...stopped, oldestPendingAgeMs: undefined },
      295_000,
    ],
    ["whichever is first", { ...overwriting, timeToLiveMs: 100_000 }, stopped, 40_000],
    [
      "a time to live that keeps the stream from being full does not keep it from losing",
      { ...overwriting, timeToLiveMs: 80_000 },
      stopped,
      20_000,
    ],
    ["of freed messages nothing more is lost", { ...overwriting, freeExported: true }, behind, 141_667],
  ];
  for (const [what, stream, exporter, expected] of cases) {
    it(what, () => assert.equal(forecastLoss(stream, exporter), expected));
  }

  /** Plays the stream message by message: when a message that is not exported expires, or is overwritten. */
  function played(stream: ForecastStream, exporter: ForecastExporter): number {
    const stepMs = 50;
    const bytes = 1000;
    const perStep = (stream.appended.messagesPerSecond * stepMs) / 1000;
    const sent = (exporter.exported.messagesPerSecond * stepMs) / 1000;
    const pending = exporter.pending.messages;
    let appended = stream.totalBytes / bytes;
    let oldest = 0;
    let position = appended - pending;
    for (let nowMs = 0; nowMs < 3_600_000; nowMs += stepMs) {
      if (position < oldest) return nowMs;
      const arrivedMs =
        position < stream.totalBytes / bytes
          ? ((position - stream.totalBytes / bytes) / pending) * (exporter.oldestPendingAgeMs ?? 0)
          : (position - stream.totalBytes / bytes) / (stream.appended.messagesPerSecond / 1000);
      if (position < appended && nowMs - arrivedMs >= (stream.timeToLiveMs ?? Infinity)) return nowMs;
      appended += perStep;
      position = Math.min(appended, position + sent);
      const isFull = (appended - oldest) * bytes > stream.maxSizeBytes;
      if (isFull && stream.strategyOnFull === StrategyOnFull.OverwriteOldestData)
        oldest += stream.segmentBytes / bytes;
    }
    return Infinity;
  }

  it("says what comes of a stream that is played, to a segment", () => {
    const random = seededRandom(11);
    const between = (min: number, max: number): number => min + (max - min) * random.fraction();
    let losses = 0;
    for (let run = 0; run < 200; run++) {
      const totalBytes = 1000 * Math.floor(between(100, 1000));
      const pending = Math.floor(between(1, totalBytes / 1000));
      const stream: ForecastStream = {
        ...overwriting,
        strategyOnFull: run % 2 === 0 ? StrategyOnFull.OverwriteOldestData : StrategyOnFull.RejectNewData,
        totalBytes,
        appended: rate(between(1, 20)),
        // A stream that rejects is played as if it had room for ever.
        ...(run % 2 === 1 && { maxSizeBytes: 1e12, timeToLiveMs: between(70_000, 600_000) }),
      };
      const exporter: ForecastExporter = {
        ...behind,
        pending: pendingOf(pending),
        oldestPendingAgeMs: between(11_000, 69_000),
        exported: rate(between(0, 20)),
      };
      const real = played(stream, exporter);
      const told = forecastLoss(stream, exporter) ?? Infinity;
      // Never later than it comes, and early by no more than a segment takes to arrive.
      const segmentMs = stream.segmentBytes / stream.appended.messagesPerSecond;
      const isPlayed = told < 3_500_000 || real < 3_500_000;
      const early = Number.isFinite(real) ? real - told : 0;
      if (isPlayed) {
        losses += 1;
        const slackMs =
          segmentMs /
          Math.max(0.02, 1 - exporter.exported.messagesPerSecond / stream.appended.messagesPerSecond);
        assert.ok(early >= -200 && early <= slackMs + 200, `run ${run}: told ${told}, came ${real}`);
      }
    }
    assert.ok(losses > 50, `${losses} of the runs lose messages`);
  });
});

describe("forecastDrained", () => {
  const cases: [what: string, ForecastStream, ForecastExporter, number | undefined][] = [
    ["now where nothing is pending", rejecting, ahead, 0],
    ["never while less is sent than arrives", rejecting, behind, undefined],
    [
      "never while nothing is sent and nothing arrives",
      { ...rejecting, appended: rate(0) },
      stopped,
      undefined,
    ],
    ["never while it may not send", rejecting, { ...behind, canSend: false, exported: rate(100) }, undefined],
    ["the backlog by the difference of the rates", rejecting, { ...behind, exported: rate(15) }, 10_000],
    ["now where nothing waits longer than it must", rejecting, { ...behind, oldestPendingAgeMs: 9000 }, 0],
    [
      "never where it has just begun to fail",
      rejecting,
      { ...behind, oldestPendingAgeMs: 100, isFailing: true },
      undefined,
    ],
    [
      "now where it only waits for its batch interval",
      rejecting,
      { ...behind, oldestPendingAgeMs: 65_000, batchIntervalMs: 60_000 },
      0,
    ],
  ];
  for (const [what, stream, exporter, expected] of cases) {
    it(what, () => assert.equal(forecastDrained(stream, exporter), expected));
  }
});
