import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import {
  APPEND_BATCH_BYTES_MAX,
  APPEND_BATCH_MESSAGES_MAX,
  HANDLES_PER_CONNECTION_MAX,
  PRODUCER_WINDOW_BATCHES,
  PRODUCERS_PER_STREAM_MAX,
  SUBSCRIPTION_CREDIT_BYTES_MAX,
  SUBSCRIPTIONS_PER_CONNECTION_MAX,
} from "../../src/core/limits.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { encodeAppendBatch } from "../../src/wire/append-batch-layout.ts";
import { AppendResultWriter } from "../../src/wire/append-batch-result-layout.ts";
import { encodeMessages } from "../../src/wire/messages-layout.ts";
import { encodeOpenStream, encodeOpenStreamResult } from "../../src/wire/open-stream-layout.ts";
import { Operation, OWN_OPERATION_MIN } from "../../src/wire/operation.ts";
import { encodeCredit, encodeSubscribe, encodeSubscribeResult } from "../../src/wire/subscribe-layout.ts";

// Compiled to dist/test/project/.
const readme = readFileSync(path.join(import.meta.dirname, "..", "..", "..", "README.md"), "utf8");
const [, section = ""] = /^## Protocol, [^\n]*\n(.*?)^## /ms.exec(readme) ?? [];

/** The frames of the worked example: the block whose lines begin with `>` and `<`. */
function exampleFrames(): string[] {
  const block = /^```\n(> .*?)^```$/ms.exec(section)?.[1] ?? "";
  const frames: string[] = [];
  for (const line of block.trimEnd().split("\n")) {
    // What the line means stands behind several blanks.
    const hex = line.slice(2).trim().split(/ {3,}/)[0]!.replaceAll(" ", "");
    if (/^[<>]/.test(line)) frames.push(hex);
    else frames.push(`${frames.pop() ?? ""}${hex}`);
  }
  return frames;
}

const payloads = [Buffer.from("21.5"), Buffer.from("ok")];
const messageBytes = Buffer.from("0400000032312e35020000006f6b", "hex");

function storedResult(): Uint8Array {
  const results = new AppendResultWriter();
  results.addSuccess(2, 100);
  return results.take();
}

describe("the protocol section of the README", () => {
  it("shows frames as the codecs make them", () => {
    const producer = { id: 0x01_23_45_67_89_ab, sequence: 0 };
    const runs = [{ messageCount: 2, ingestTimeMs: 1_762_498_800_000 }];
    const pushed = { subscriptionId: 3, firstSequence: 100, durableEndSequence: 100, runs, messageBytes };
    const frames = [
      encodeOpenStream({ requestId: 1, name: "readings" }),
      encodeOpenStreamResult({ requestId: 1, status: 0, handle: 0, nextSequence: 100, errorMessage: "" }),
      encodeAppendBatch({ handle: 0, requestId: 2, messages: payloads, producer }),
      storedResult(),
      encodeSubscribe({ handle: 0, subscriptionId: 3, fromSequence: 100, creditBytes: 2 ** 20 }),
      encodeSubscribeResult({ subscriptionId: 3, status: 0, firstSequence: 100, errorMessage: "" }),
      encodeMessages(pushed),
      encodeCredit({ subscriptionId: 3, creditBytes: encodeMessages(pushed).length }),
    ];
    assert.deepEqual(
      exampleFrames(),
      frames.map((frame) => Buffer.from(frame).toString("hex")),
    );
  });

  it("draws every operation of Millrace's own, and tells of every status of its own", () => {
    for (const [name, operation] of Object.entries(Operation)) {
      if (operation >= OWN_OPERATION_MIN) assert.ok(section.includes(`${name} (${operation})`), name);
    }
    for (const [name, status] of Object.entries(StatusCode)) {
      if (status >= OWN_OPERATION_MIN) assert.ok(section.includes(`| ${status} ${name}`), name);
    }
  });

  it("names the limits that hold", () => {
    const told = [
      `${APPEND_BATCH_MESSAGES_MAX.toLocaleString("en")} |`,
      `several messages | ${APPEND_BATCH_BYTES_MAX / 2 ** 20} MiB`,
      `each \`OpenStream\` counted | ${HANDLES_PER_CONNECTION_MAX}`,
      `subscriptions of a connection | ${SUBSCRIPTIONS_PER_CONNECTION_MAX}`,
      `No more than ${SUBSCRIPTION_CREDIT_BYTES_MAX / 2 ** 20} MiB are believed`,
      `One of its last ${PRODUCER_WINDOW_BATCHES} gets`,
      `the ${PRODUCERS_PER_STREAM_MAX.toLocaleString("en")} producers`,
    ];
    for (const text of told) assert.ok(section.includes(text), text);
  });
});
