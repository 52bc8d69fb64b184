import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { EXPORTERS_PER_STREAM_MAX } from "../../src/core/limits.ts";
import { CborReader } from "../../src/wire/cbor-reader.ts";
import { CborWriter } from "../../src/wire/cbor-writer.ts";
import {
  checkStreamDefinition,
  checkUpdatedDefinition,
  readStreamDefinition,
  writeStreamDefinition,
} from "../../src/wire/stream-definition-codec.ts";

const minimal = { name: "s", strategyOnFull: 0 };
const MIB = 1024 * 1024;

function refused(input: unknown, text: RegExp): void {
  assert.throws(
    () => checkStreamDefinition(input),
    (thrown) =>
      thrown instanceof MillraceError && thrown.code === "INVALID_REQUEST" && text.test(thrown.message),
    String(text),
  );
}

/** A definition map with the value of one key as raw hex. */
function withRaw(key: string, valueHex: string) {
  const head = new CborWriter(0)
    .map(3)
    .text("name")
    .text("s")
    .text("strategyOnFull")
    .integer(1)
    .text(key)
    .finish();
  const bytes = Buffer.concat([head.subarray(1), Buffer.from(valueHex, "hex")]);
  return readStreamDefinition(new CborReader(bytes), checkStreamDefinition);
}

describe("checkUpdatedDefinition", () => {
  it("refuses a segment size above maxSize where one is named (PROTOCOL 5)", () => {
    const tooLarge = { ...minimal, maxSize: MIB, streamSegmentSize: MIB + 1 };
    assert.throws(() => checkUpdatedDefinition(tooLarge), /streamSegmentSize is 1048577, above/);
    assert.equal(checkUpdatedDefinition({ ...tooLarge, streamSegmentSize: MIB }).streamSegmentSize, MIB);
  });

  it("lowers the default to maxSize where none is named: what is left out goes back to its default (PROTOCOL 5)", () => {
    assert.equal(checkUpdatedDefinition({ ...minimal, maxSize: MIB }).streamSegmentSize, MIB);
    assert.equal(
      checkUpdatedDefinition({ ...minimal, maxSize: MIB, streamSegmentSize: null }).streamSegmentSize,
      MIB,
    );
    assert.equal(checkUpdatedDefinition(minimal).streamSegmentSize, 16 * MIB);
  });
});

describe("checkStreamDefinition", () => {
  it("fills in every default", () => {
    assert.deepEqual(checkStreamDefinition(minimal), {
      name: "s",
      maxSize: 256 * MIB,
      streamSegmentSize: 16 * MIB,
      strategyOnFull: 0,
      persistence: 0,
      flushOnWrite: false,
      exportDefinition: { http: [], iotAnalytics: [], kinesis: [], IotSitewise: [], s3TaskExecutor: [] },
    });
  });

  it("fills in the defaults of each kind of exporter, the batch size being its maximum", () => {
    const { exportDefinition } = checkStreamDefinition({
      ...minimal,
      exportDefinition: {
        http: [{ identifier: "h", uri: "u" }],
        iotAnalytics: [{ identifier: "i", iotChannel: "c" }],
        kinesis: [{ identifier: "k", kinesisStreamName: "n" }],
        IotSitewise: [{ identifier: "w" }],
        s3TaskExecutor: [{ identifier: "3", statusConfig: {} }],
      },
    });
    const shared = { startSequenceNumber: 0, disabled: false };
    assert.deepEqual(exportDefinition, {
      http: [{ identifier: "h", uri: "u", batchSize: 500, ...shared, exportFormat: 0 }],
      iotAnalytics: [{ identifier: "i", iotChannel: "c", batchSize: 100, ...shared }],
      kinesis: [{ identifier: "k", kinesisStreamName: "n", batchSize: 500, ...shared }],
      IotSitewise: [{ identifier: "w", batchSize: 10, ...shared }],
      s3TaskExecutor: [
        {
          identifier: "3",
          sizeThresholdForMultipartUploadBytes: 5_242_880,
          disabled: false,
          statusConfig: { statusLevel: 2 },
        },
      ],
    });
  });

  it("takes every bound and refuses what lies beyond, naming field, value and limit", () => {
    const bounds = [
      ["maxSize", 1024, 2 ** 63],
      ["streamSegmentSize", 1024, 2_147_483_647],
      ["timeToLiveMillis", 60_000, 9_223_372_036_854],
      ["strategyOnFull", 0, 1],
      ["persistence", 0, 1],
    ] as const;
    for (const [field, min, max] of bounds) {
      for (const value of [min, max]) checkStreamDefinition({ ...minimal, maxSize: 2 ** 40, [field]: value });
      refused({ ...minimal, [field]: min - 1 }, new RegExp(`definition\\.${field} is ${min - 1}`));
      const above = max === 2 ** 63 ? 2 ** 63 + 2048 : max + 1;
      refused({ ...minimal, [field]: above }, new RegExp(`definition\\.${field} is ${above}`));
      for (const bad of [min + 0.5, NaN, Infinity, "1", true, {}, []]) {
        refused({ ...minimal, [field]: bad }, new RegExp(`definition\\.${field} is`));
      }
    }
    refused({ ...minimal, streamSegmentSize: 1023 }, /is 1023, the minimum is 1024/);
    refused(
      { ...minimal, strategyOnFull: 2 },
      /must be one of 0 \(RejectNewData\), 1 \(OverwriteOldestData\)/,
    );
    refused({ ...minimal, flushOnWrite: 1 }, /definition\.flushOnWrite is number, must be a boolean/);
    refused({ strategyOnFull: 0 }, /definition\.name is missing/);
    refused({ name: "s" }, /definition\.strategyOnFull is missing/);
    refused(null, /definition is object, must be a map/);
  });

  it("takes the names of PROTOCOL 3.2 and no others", () => {
    for (const name of [".", "..", "a.log", " ", "A,b_c-d.e f", "x".repeat(255)]) {
      assert.equal(checkStreamDefinition({ ...minimal, name }).name, name);
    }
    for (const name of ["", "../x", "/", "a\0", "a\n", "%2e", "é", "x".repeat(256)]) {
      refused({ ...minimal, name }, /definition\.name (is|has) /);
    }
  });

  it("takes every bound of the exporters and refuses what lies beyond", () => {
    const kinesis = (config: object) => ({
      ...minimal,
      exportDefinition: { kinesis: [{ identifier: "k", kinesisStreamName: "n", ...config }] },
    });
    const bounds = [
      ["batchSize", 1, 500],
      ["batchIntervalMillis", 60_000, 9_223_372_036_854],
      ["priority", 1, 10],
      ["startSequenceNumber", 0, 2 ** 63],
    ] as const;
    for (const [field, min, max] of bounds) {
      for (const value of [min, max]) checkStreamDefinition(kinesis({ [field]: value }));
      refused(kinesis({ [field]: min - 1 }), new RegExp(`kinesis\\[0\\]\\.${field} is ${min - 1}`));
      if (max < 2 ** 63) refused(kinesis({ [field]: max + 1 }), new RegExp(`the maximum is ${max}`));
    }
    refused(kinesis({ kinesisStreamName: "" }), /kinesisStreamName has 0 characters, the minimum is 1/);
    refused(kinesis({ kinesisStreamName: undefined }), /kinesisStreamName is missing/);
    refused(kinesis({ identifier: "a/b" }), /kinesis\[0\]\.identifier is "a\/b"/);
    refused(kinesis({ disabled: "no" }), /kinesis\[0\]\.disabled is string/);
    const one = (kind: string, config: object) => ({ ...minimal, exportDefinition: { [kind]: [config] } });
    refused(one("iotAnalytics", { identifier: "i", iotChannel: "c", batchSize: 101 }), /maximum is 100/);
    refused(one("IotSitewise", { identifier: "w", batchSize: 11 }), /maximum is 10/);
    checkStreamDefinition(
      one("iotAnalytics", { identifier: "i", iotChannel: "c", iotMsgIdPrefix: "x".repeat(32) }),
    );
    refused(
      one("iotAnalytics", { identifier: "i", iotChannel: "c", iotMsgIdPrefix: "x".repeat(33) }),
      /iotMsgIdPrefix has 33 characters, the maximum is 32/,
    );
    refused(one("http", { identifier: "h", uri: "u", exportFormat: 2 }), /exportFormat is 2, must be one of/);
    const size = { identifier: "3", sizeThresholdForMultipartUploadBytes: 5_242_879 };
    refused(one("s3TaskExecutor", size), /the minimum is 5242880/);
    refused(one("s3TaskExecutor", { identifier: "3", statusConfig: { statusLevel: 5 } }), /statusLevel is 5/);
    refused(
      one("s3TaskExecutor", { identifier: "3", statusConfig: { statusStreamName: "" } }),
      /0 characters/,
    );
    refused(one("kinesis", []), /identifier is missing/);
    refused({ ...minimal, exportDefinition: { kinesis: {} } }, /kinesis is object, must be an array/);
  });

  it("refuses an identifier used twice, also across kinds, too many exporters, and a stream that is its own status stream", () => {
    const entries = (count: number, prefix: string) =>
      Array.from({ length: count }, (_, index) => ({ identifier: `${prefix}${index}` }));
    refused(
      {
        ...minimal,
        exportDefinition: { IotSitewise: [{ identifier: "x" }], s3TaskExecutor: [{ identifier: "x" }] },
      },
      /the identifier "x" twice/,
    );
    const most = { IotSitewise: entries(EXPORTERS_PER_STREAM_MAX, "a") };
    checkStreamDefinition({ ...minimal, exportDefinition: most });
    refused({ ...minimal, exportDefinition: { ...most, s3TaskExecutor: entries(1, "b") } }, /65 entries/);
    refused({ ...minimal, exportDefinition: { IotSitewise: entries(65, "a") } }, /65 entries/);
    refused(
      {
        ...minimal,
        exportDefinition: { s3TaskExecutor: [{ identifier: "3", statusConfig: { statusStreamName: "s" } }] },
      },
      /the status stream of "3" is the stream itself/,
    );
  });

  it("lowers a segment size above the maximum size", () => {
    const { maxSize, streamSegmentSize } = checkStreamDefinition({
      ...minimal,
      maxSize: MIB,
      streamSegmentSize: 16 * MIB,
    });
    assert.deepEqual([maxSize, streamSegmentSize], [MIB, MIB]);
  });

  it("ignores keys that it does not know, also those of Object.prototype", () => {
    const odd = JSON.parse(
      '{"name":"s","strategyOnFull":0,"__proto__":{"x":1},"constructor":2,"other":[]}',
    ) as object;
    const definition = checkStreamDefinition(odd);
    assert.deepEqual(definition, checkStreamDefinition(minimal));
    assert.equal(Object.getPrototypeOf(definition), Object.prototype);
    assert.equal(({} as { x?: number }).x, undefined);
  });
});

describe("readStreamDefinition", () => {
  it("takes integers in the forms of PROTOCOL 2.1", () => {
    assert.equal(withRaw("maxSize", "fa5a000000").maxSize, 2 ** 53);
    // JavaScript's way to say 2^63 - 1, and the exact one.
    assert.equal(withRaw("maxSize", "fa5f000000").maxSize, 2 ** 63);
    assert.equal(withRaw("maxSize", "1b7fffffffffffffff").maxSize, 2 ** 63);
    assert.throws(
      () => withRaw("maxSize", "1b8000000000000000"),
      /maxSize is 9223372036854775808, the maximum/,
    );
    assert.throws(() => withRaw("maxSize", "fa44801000"), /maxSize is 1024.5, must be an integer/);
    assert.throws(
      () => withRaw("maxSize", "3b7fffffffffffffff"),
      /maxSize is -9223372036854775808, the minimum/,
    );
    assert.equal(withRaw("persistence", "f98000").persistence, 0);
    assert.ok(Object.is(withRaw("persistence", "f98000").persistence, 0));
    assert.throws(() => withRaw("maxSize", "f97e00"), /maxSize is NaN/);
  });

  it("reads a maxSize of 0, the Java client's 4 GiB, as 2^32", () => {
    assert.equal(withRaw("maxSize", "00").maxSize, 2 ** 32);
    assert.throws(() => withRaw("streamSegmentSize", "00"), /streamSegmentSize is 0, the minimum is 1024/);
  });

  it("takes null as absent and skips unknown keys", () => {
    assert.equal(withRaw("timeToLiveMillis", "f6").timeToLiveMillis, undefined);
    assert.equal(withRaw("exportDefinition", "f6").exportDefinition.kinesis.length, 0);
    assert.equal(withRaw("__proto__", "a1617801").name, "s");
    assert.equal(({} as { x?: number }).x, undefined);
    assert.equal(withRaw("toString", "8201a0").maxSize, 256 * MIB);
  });

  it("stops at more exporters than there may be without reading on", () => {
    const kinesis = `a1676b696e657369739f${"a0".repeat(100)}ff`;
    assert.throws(() => withRaw("exportDefinition", kinesis), /kinesis has more than 64 entries/);
  });

  it("gives back what writeStreamDefinition wrote, a huge maxSize as float64", () => {
    const definition = checkStreamDefinition({ ...minimal, maxSize: 2 ** 63, timeToLiveMillis: 60_000 });
    const writer = new CborWriter(0);
    writeStreamDefinition(writer, definition);
    const bytes = writer.finish();
    assert.ok(Buffer.from(bytes).toString("hex").includes("fb43e0000000000000"));
    assert.deepEqual(readStreamDefinition(new CborReader(bytes, 1), checkStreamDefinition), definition);
  });
});
