import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encode } from "cborg";
import { MillraceError } from "../../src/core/errors.ts";
import { StatusCode } from "../../src/core/status-code.ts";
import { Operation } from "../../src/wire/operation.ts";
import { officialDecoders } from "../support/golden-frames.ts";

/*
 * Every constraint that the clients check before they send (PROTOCOL 3.0), in a table of its own, against requests as bytes: the
 * server repeats each, with status 3, for a client that does not.
 */
const INT64_MAX = 2n ** 63n - 1n;
const DURATION_MAX = 9_223_372_036_854;

type Constraint =
  | { readonly kind: "integer"; readonly min: number | bigint; readonly max: number | bigint }
  | { readonly kind: "enum"; readonly values: readonly number[] }
  | { readonly kind: "text"; readonly min: number; readonly max?: number; readonly isName?: true }
  | { readonly kind: "boolean" };
type Table = Readonly<Record<string, Constraint & { readonly required?: true }>>;

const name = { kind: "text", min: 1, max: 255, isName: true } as const;
const words = { kind: "text", min: 1, required: true } as const;
const boolean = { kind: "boolean" } as const;
const integer = (min: number | bigint, max: number | bigint) => ({ kind: "integer", min, max }) as const;

const shared: Table = {
  identifier: { ...name, required: true },
  priority: integer(1, 10),
  disabled: boolean,
};
const batching = (batchSizeMax: number): Table => ({
  ...shared,
  batchSize: integer(1, batchSizeMax),
  batchIntervalMillis: integer(60_000, DURATION_MAX),
  startSequenceNumber: integer(0, INT64_MAX),
});

/** PROTOCOL 3.2. */
const definition: Table = {
  name: { ...name, required: true },
  maxSize: integer(1024, INT64_MAX),
  streamSegmentSize: integer(1024, 2_147_483_647),
  timeToLiveMillis: integer(60_000, DURATION_MAX),
  strategyOnFull: { kind: "enum", values: [0, 1], required: true },
  persistence: { kind: "enum", values: [0, 1] },
  flushOnWrite: boolean,
};
/** PROTOCOL 3.4. */
const exporters: Readonly<Record<string, Table>> = {
  http: { ...batching(500), uri: words, exportFormat: { kind: "enum", values: [0, 1] } },
  iotAnalytics: { ...batching(100), iotChannel: words, iotMsgIdPrefix: { kind: "text", min: 0, max: 32 } },
  kinesis: { ...batching(500), kinesisStreamName: words },
  IotSitewise: batching(10),
  s3TaskExecutor: { ...shared, sizeThresholdForMultipartUploadBytes: integer(5_242_880, INT64_MAX) },
};
const statusConfig: Table = {
  statusLevel: { kind: "enum", values: [0, 1, 2, 3, 4] },
  statusStreamName: name,
};
/** PROTOCOL 3.5. */
const readOptions: Table = {
  desiredStartSequenceNumber: integer(0, INT64_MAX),
  minMessageCount: integer(1, 2_147_483_647),
  maxMessageCount: integer(1, 2_147_483_647),
  readTimeoutMillis: integer(0, DURATION_MAX),
};

function taken({ ...constraint }: Constraint): unknown[] {
  switch (constraint.kind) {
    case "integer":
      return [constraint.min, constraint.max];
    case "enum":
      return [...constraint.values];
    case "boolean":
      return [true, false];
    case "text": {
      const { min, max = 300, isName } = constraint;
      const names = isName === true ? ["A,b_c-d.e f", " ", ".."] : ["é/\n"];
      return ["x".repeat(min), "x".repeat(max), ...names];
    }
  }
}

function refused(constraint: Constraint): unknown[] {
  switch (constraint.kind) {
    case "integer": {
      const { min, max } = constraint;
      const above = typeof max === "bigint" ? max + 2n : max + 1;
      return [
        typeof min === "bigint" ? min - 1n : min - 1,
        above,
        Number(min) + 0.5,
        NaN,
        Infinity,
        "1",
        true,
      ];
    }
    case "enum":
      return [-1, Math.max(...constraint.values) + 1, 0.5, "0", false];
    case "boolean":
      return [0, 1, "true", []];
    case "text": {
      const { min, max, isName } = constraint;
      const lengths = [
        ...(min > 0 ? ["x".repeat(min - 1)] : []),
        ...(max === undefined ? [] : ["x".repeat(max + 1)]),
      ];
      const names = isName === true ? ["a/b", "a\n", "a\0", "%2e", "é", "a:b"] : [];
      return [...lengths, ...names, 5, true, new Uint8Array(3), ["x"]];
    }
  }
}

function decodes(operation: number, body: object): void {
  officialDecoders[operation]!(Buffer.concat([Buffer.of(operation), encode(body)]));
}

function refuses(operation: number, body: object, what: string): void {
  assert.throws(
    () => decodes(operation, body),
    (thrown) => thrown instanceof MillraceError && thrown.status === StatusCode.InvalidRequest,
    what,
  );
}

/** Tries each field of `table` at and beyond its bounds; `bodyOf` puts a record of it where it belongs. */
function tryTable(operation: number, table: Table, bodyOf: (record: object) => object): void {
  const required = Object.entries(table).filter(([, constraint]) => constraint.required === true);
  const least = Object.fromEntries(required.map(([key, constraint]) => [key, taken(constraint)[0]]));
  decodes(operation, bodyOf(least));
  for (const [key, constraint] of Object.entries(table)) {
    for (const value of taken(constraint)) decodes(operation, bodyOf({ ...least, [key]: value }));
    for (const value of refused(constraint))
      refuses(operation, bodyOf({ ...least, [key]: value }), `${key} ${String(value)}`);
    const without = Object.fromEntries(Object.entries(least).filter(([other]) => other !== key));
    if (constraint.required === true) refuses(operation, bodyOf(without), `no ${key}`);
    else decodes(operation, bodyOf({ ...least, [key]: null }));
  }
}

const requestId = "r";
const minimal = { name: "s", strategyOnFull: 0 };

describe("the server repeats every check of the clients (PROTOCOL 3.0)", () => {
  for (const operation of [Operation.CreateMessageStream, Operation.UpdateMessageStream]) {
    it(`of a definition, in operation ${operation} (PROTOCOL 3.2)`, () => {
      // An update refuses a segment that is named above the stream; a creation lowers it.
      const wide = { maxSize: 2 ** 40 };
      tryTable(operation, definition, (record) => ({ requestId, definition: { ...wide, ...record } }));
    });

    for (const [kind, table] of Object.entries(exporters)) {
      it(`of ${kind}, in operation ${operation} (PROTOCOL 3.4)`, () => {
        tryTable(operation, table, (record) => ({
          requestId,
          definition: { ...minimal, exportDefinition: { [kind]: [record] } },
        }));
      });
    }

    it(`of a status configuration, in operation ${operation} (PROTOCOL 3.4)`, () => {
      tryTable(operation, statusConfig, (record) => ({
        requestId,
        definition: {
          ...minimal,
          exportDefinition: { s3TaskExecutor: [{ identifier: "3", statusConfig: record }] },
        },
      }));
    });
  }

  it("of read options (PROTOCOL 3.5)", () => {
    tryTable(Operation.ReadMessages, readOptions, (record) => {
      const isMaxAlone = "maxMessageCount" in record && !("minMessageCount" in record);
      const readMessagesOptions = isMaxAlone ? { ...record, minMessageCount: 1 } : record;
      return { requestId, streamName: "s", readMessagesOptions };
    });
    const crossed = { minMessageCount: 3, maxMessageCount: 2 };
    refuses(
      Operation.ReadMessages,
      { requestId, streamName: "s", readMessagesOptions: crossed },
      "min above max",
    );
  });

  const named = { name: { ...name, required: true } } as const satisfies Table;
  it("of the name of a stream, in every operation that has one (PROTOCOL 2.2, 3.2)", () => {
    for (const operation of [Operation.DeleteMessageStream, Operation.DescribeMessageStream])
      tryTable(operation, named, (record) => ({ requestId, ...record }));
    tryTable(Operation.AppendMessage, named, (record) => ({ requestId, ...record, payload: Buffer.of(1) }));
    tryTable(Operation.ReadMessages, { streamName: named.name }, (record) => ({ requestId, ...record }));
  });

  it("of a payload: bytes, at least one (PROTOCOL 2.2)", () => {
    const append = (payload: unknown) => ({
      requestId,
      name: "s",
      ...(payload !== undefined && { payload }),
    });
    decodes(Operation.AppendMessage, append(new Uint8Array(1)));
    for (const payload of [undefined, null, new Uint8Array(0), "text", 5, [1], { a: 1 }])
      refuses(Operation.AppendMessage, append(payload), `payload ${JSON.stringify(payload)}`);
  });

  it("of request ids: at least one character of those that a name may have, and no most (PROTOCOL 1.6)", () => {
    for (const id of ["x", " ", "a,b.c-d_e", "0".repeat(1000)])
      decodes(Operation.ListStreams, { requestId: id });
    for (const id of ["", "a/b", "é", "a\n", 5, null])
      refuses(Operation.ListStreams, { requestId: id }, `id ${String(id)}`);
  });
});
