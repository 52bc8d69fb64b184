import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encode } from "cborg";
import fc from "fast-check";
import { loadSettings } from "../../src/config/load-settings.ts";
import { rowOf, settingKeys } from "../../src/config/schema.ts";
import { MillraceError } from "../../src/core/errors.ts";
import type { StreamDefinition } from "../../src/core/stream-definition.ts";
import { decodeCreateMessageStream } from "../../src/wire/create-message-stream.ts";
import { Operation } from "../../src/wire/operation.ts";
import { decodeReadMessages } from "../../src/wire/read-messages.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";
import { testSeed } from "../support/seeded-random.ts";

const parameters = { seed: testSeed, numRuns: 300 };
const TWO_63 = 2 ** 63;

/** Where arithmetic goes wrong: signs, fractions, the ends of 31, 32, 53, 63 and 64 bits, and what is no number. */
const edges = [31, 32, 53, 63, 64].flatMap((bits) => [2n ** BigInt(bits) - 1n, 2n ** BigInt(bits)]);
const numbers = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
  fc.constantFrom(
    ...edges.map((edge) => (edge === 2n ** 64n ? edge - 1n : edge)),
    ...edges.map((edge) => -edge),
  ),
  fc.constantFrom<unknown>(NaN, Infinity, -Infinity, -0, 0.5, 1e308, 5e-324, "1", true, null, [1], {}),
);

/** An integer field, the range that it has, and what must stand beside it. */
const definitionFields: readonly [
  string,
  number,
  number,
  (value: unknown) => object,
  (d: StreamDefinition) => unknown,
][] = [
  ["maxSize", 1024, TWO_63, (maxSize) => ({ maxSize, streamSegmentSize: 1024 }), (d) => d.maxSize],
  [
    "streamSegmentSize",
    1024,
    2 ** 31 - 1,
    (streamSegmentSize) => ({ streamSegmentSize, maxSize: TWO_63 }),
    (d) => d.streamSegmentSize,
  ],
  [
    "timeToLiveMillis",
    60_000,
    9_223_372_036_854,
    (timeToLiveMillis) => ({ timeToLiveMillis }),
    (d) => d.timeToLiveMillis,
  ],
  ...(
    [
      ["batchSize", 1, 500],
      ["batchIntervalMillis", 60_000, 9_223_372_036_854],
      ["priority", 1, 10],
      ["startSequenceNumber", 0, TWO_63],
    ] as const
  ).map(
    ([field, min, max]): [
      string,
      number,
      number,
      (v: unknown) => object,
      (d: StreamDefinition) => unknown,
    ] => [
      field,
      min,
      max,
      (value) => ({
        exportDefinition: { kinesis: [{ identifier: "k", kinesisStreamName: "n", [field]: value }] },
      }),
      (d) => d.exportDefinition.kinesis[0]![field],
    ],
  ),
];

/** What was made of a value: a number within the bounds, an absent one, or a clean refusal. */
function checkOutcome(outcome: () => unknown, { min, max }: { min: number; max: number }): void {
  let value: unknown;
  try {
    value = outcome();
  } catch (thrown) {
    assert.ok(thrown instanceof MillraceError, String(thrown));
    assert.ok(["INVALID_REQUEST", "MALFORMED_CBOR", "INVALID_SETTING"].includes(thrown.code), thrown.code);
    assert.doesNotMatch(thrown.message, /\n/);
    return;
  }
  if (value === undefined) return;
  assert.ok(typeof value === "number" && Number.isInteger(value), JSON.stringify(value));
  assert.ok(value >= min && value <= max, `${value} is not within ${min} and ${max}`);
}

function frameOf(operation: number, body: object): Uint8Array {
  return Buffer.concat([Buffer.of(operation), encode({ requestId: "r", ...body })]);
}

describe("a number at the edge of what is possible", () => {
  for (const [field, min, max, around, valueOf] of definitionFields) {
    it(`is taken for definition.${field} within its bounds, and else refused, in CBOR and in JSON`, () => {
      const property = fc.property(numbers, (value) => {
        const definition = { name: "s", strategyOnFull: 0, ...around(value) };
        const frame = frameOf(Operation.CreateMessageStream, { definition });
        checkOutcome(() => valueOf(decodeCreateMessageStream(frame).definition), { min, max });
        const plain = typeof value === "bigint" ? Number(value) : value;
        const document = { name: "s", strategyOnFull: 0, ...around(plain) };
        checkOutcome(() => valueOf(checkStreamDefinition(JSON.parse(JSON.stringify(document)))), {
          min,
          max,
        });
      });
      fc.assert(property, parameters);
    });
  }

  it("is taken for the options of a read within their bounds, and else refused", () => {
    const fields = [
      ["desiredStartSequenceNumber", 0, TWO_63],
      ["minMessageCount", 1, 2 ** 31 - 1],
      ["maxMessageCount", 1, 2 ** 31 - 1],
      ["readTimeoutMillis", 0, TWO_63],
    ] as const;
    for (const [field, min, max] of fields) {
      const property = fc.property(numbers, (value) => {
        const readMessagesOptions = { maxMessageCount: 2 ** 31 - 1, [field]: value };
        const frame = frameOf(Operation.ReadMessages, { streamName: "s", readMessagesOptions });
        checkOutcome(() => decodeReadMessages(frame).options[field], { min, max });
      });
      fc.assert(property, parameters);
    }
  });

  it("is taken for a setting within its bounds, and else refused, as text and from a file", () => {
    const machine = { homeDirectory: "/home/edge", cores: 2, memoryBytes: 2 ** 33 };
    const texts = fc.oneof(
      numbers.map(String),
      fc.constantFrom("0x10", "1e3", "1_000", "１２", " 1", "1 ", "+1", "--1"),
    );
    for (const key of settingKeys) {
      const { env, kind } = rowOf(key);
      const bounds = / from (\d+) to (\d+)/.exec(kind.accepts);
      if (bounds === null) continue;
      const [min, max] = [Number(bounds[1]), Number(bounds[2])];
      const property = fc.property(texts, numbers, (text, value) => {
        const load = (env: Record<string, string>, values?: Record<string, unknown>): unknown =>
          loadSettings({ ...machine, env, ...(values && { file: { path: "a.toml", values } }) }).settings[
            key
          ];
        checkOutcome(() => load({ [env]: text }), { min, max });
        const fileKey = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
        if (typeof value !== "bigint" && value !== null)
          checkOutcome(() => load({}, { [fileKey]: value }), { min, max });
      });
      fc.assert(property, { ...parameters, numRuns: 100 });
    }
  });
});
