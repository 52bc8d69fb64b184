import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Command } from "commander";
import { UsageError } from "../../src/cli/command-context.ts";
import { changeExporters, type PresentExporters } from "../../src/cli/exporter-changes.ts";
import {
  withExporterChangeOptions,
  withExporterOptions,
  type ExporterFlags,
} from "../../src/cli/exporter-flags.ts";
import { changeStreamOptions, streamOptionsDefault } from "../../src/core/stream-options.ts";
import { emptyExportDefinition } from "../../src/core/stream-definition.ts";
import { checkStreamDefinition } from "../../src/wire/stream-definition-codec.ts";

const nothing: PresentExporters = { exportDefinition: undefined, options: {} };

function flagsOf(line: string): ExporterFlags {
  const command = withExporterChangeOptions(withExporterOptions(new Command("update"))).exitOverride();
  command.configureOutput({ writeErr: () => undefined });
  command.parse(line === "" ? [] : line.split(" "), { from: "user" });
  return command.opts<ExporterFlags>();
}

/** What the line makes of a stream; the engine's own checks take it. */
function change(line: string, present = nothing) {
  const { exportDefinition, options } = changeExporters(present, flagsOf(line));
  checkStreamDefinition({ name: "raw", strategyOnFull: 0, ...(exportDefinition && { exportDefinition }) });
  changeStreamOptions({ ...streamOptionsDefault, ...present.options }, options);
  return { exportDefinition, options };
}

function refuses(line: string, message: RegExp, present = nothing): void {
  assert.throws(
    () => changeExporters(present, flagsOf(line)),
    (thrown: unknown) => thrown instanceof UsageError && message.test(thrown.message),
    line,
  );
}

describe("changeExporters", () => {
  it("leaves everything as it is when no flag is about exporters", () => {
    assert.deepEqual(change(""), { exportDefinition: undefined, options: {} });
    const exportDefinition = { kinesis: [{ identifier: "k", kinesisStreamName: "a" }] };
    assert.equal(change("", { exportDefinition, options: {} }).exportDefinition, exportDefinition);
  });

  it("makes exporters of every kind, each under a name that says what it is", () => {
    const line =
      "--kinesis a --http https://user:pw@example.com:8443/in/?key=secret --iot-analytics readings --sitewise --s3 --to-files /data/out/";
    assert.deepEqual(change(line), {
      exportDefinition: {
        kinesis: [{ identifier: "kinesis-a", kinesisStreamName: "a" }],
        http: [
          {
            identifier: "http-example.com-8443-in",
            uri: "https://user:pw@example.com:8443/in/?key=secret",
          },
        ],
        iotAnalytics: [{ identifier: "iot-analytics-readings", iotChannel: "readings" }],
        IotSitewise: [{ identifier: "sitewise" }],
        s3TaskExecutor: [{ identifier: "s3" }],
      },
      options: { files: [{ identifier: "files-data-out", directory: "/data/out/" }] },
    });
  });

  it("sets what every kind takes, and keeps Millrace's own settings among the options", () => {
    const line =
      "--http http://a/ --kinesis k --priority 2 --batch-size 10 --start-sequence 5 --disabled --min-share 10 --max-kbit 64 --in-flight 4";
    const fields = { priority: 2, disabled: true, batchSize: 10, startSequenceNumber: 5 };
    const own = { minSharePercent: 10, kbitPerSecondMax: 64, inFlightMax: 4 };
    assert.deepEqual(change(line), {
      exportDefinition: {
        kinesis: [{ identifier: "kinesis-k", kinesisStreamName: "k", ...fields }],
        http: [{ identifier: "http-a", uri: "http://a/", ...fields }],
      },
      options: { exporters: { "kinesis-k": own, "http-a": own } },
    });
  });

  it("sets what one kind takes", () => {
    assert.deepEqual(change("--kinesis k --partition-key pointer:/device").options, {
      exporters: { "kinesis-k": { partitionKey: "pointer:/device" } },
    });
    assert.equal(change("--http http://a/ --http-format json").exportDefinition?.http?.[0]?.exportFormat, 1);
    assert.equal(change("--http http://a/ --http-format raw").exportDefinition?.http?.[0]?.exportFormat, 0);
    const analytics = change("--iot-analytics c --message-id-prefix p").exportDefinition?.iotAnalytics;
    assert.equal(analytics?.[0]?.iotMsgIdPrefix, "p");
    const none = change("--iot-analytics c --message-id-prefix none").exportDefinition?.iotAnalytics;
    assert.equal(none?.[0]?.iotMsgIdPrefix, "none");
    const s3 = "--s3 --multipart-threshold 6000000 --status-stream told --status-level debug";
    assert.deepEqual(change(s3).exportDefinition?.s3TaskExecutor, [
      {
        identifier: "s3",
        sizeThresholdForMultipartUploadBytes: 6_000_000,
        statusConfig: { statusStreamName: "told", statusLevel: 3 },
      },
    ]);
    const files =
      "--to-files /a --file-format raw --gzip --rotate-bytes 10000 --rotate-ms 60000 --batch-interval 5";
    assert.deepEqual(change(files).options.files, [
      {
        identifier: "files-a",
        directory: "/a",
        format: "raw",
        gzip: true,
        rotateBytes: 10_000,
        rotateMillis: 60_000,
        batchIntervalMillis: 5,
      },
    ]);
  });

  it("keeps an interval that the protocol does not take among the options, and lets the newest one win", () => {
    const long = change("--kinesis k --batch-interval 60000");
    assert.equal(long.exportDefinition?.kinesis?.[0]?.batchIntervalMillis, 60_000);
    assert.deepEqual(long.options, {});
    const short = change("--kinesis k --batch-interval 59999");
    assert.deepEqual(short.options, { exporters: { "kinesis-k": { batchIntervalMillis: 59_999 } } });
    const present: PresentExporters = {
      exportDefinition: {
        kinesis: [{ identifier: "kinesis-k", kinesisStreamName: "k", batchIntervalMillis: 70_000 }],
      },
      options: { exporters: { "kinesis-k": { batchIntervalMillis: 100 } } },
    };
    const taken = { exporters: { "kinesis-k": { batchIntervalMillis: null } } };
    assert.deepEqual(change("--kinesis k --batch-interval 80000", present).options, taken);
    const none = change("--kinesis k --batch-interval none", present);
    assert.deepEqual(none.options, taken);
    assert.deepEqual(none.exportDefinition?.kinesis, [{ identifier: "kinesis-k", kinesisStreamName: "k" }]);
  });

  const present: PresentExporters = {
    exportDefinition: {
      ...emptyExportDefinition,
      http: [{ identifier: "web", uri: "http://a/", priority: 3 }],
      IotSitewise: [{ identifier: "one" }],
      s3TaskExecutor: [
        { identifier: "up", statusConfig: { statusStreamName: "told" } },
        { identifier: "down" },
      ],
    },
    options: {
      exporters: { web: { inFlightMax: 4, paused: true } },
      files: [{ identifier: "kept", directory: "/a", format: "raw", gzip: true, rotateBytes: 5000 }],
    },
  };

  it("changes the exporter that a destination or an identifier names, and nothing else of it", () => {
    const web = { identifier: "web", uri: "http://a/" };
    assert.deepEqual(change("--http http://a/ --priority 1", present).exportDefinition?.http, [
      { ...web, priority: 1 },
    ]);
    assert.deepEqual(change("--exporter web --priority 1", present).exportDefinition?.http, [
      { ...web, priority: 1 },
    ]);
    assert.deepEqual(change("--exporter web --http http://b/", present).exportDefinition?.http, [
      { identifier: "web", uri: "http://b/", priority: 3 },
    ]);
    assert.deepEqual(change("--exporter web --in-flight none", present).options, {
      exporters: { web: { inFlightMax: null } },
    });
    assert.deepEqual(change("--sitewise --batch-size 5", present).exportDefinition?.IotSitewise, [
      { identifier: "one", batchSize: 5 },
    ]);
    assert.deepEqual(change("--to-files /a --no-gzip", present).options.files, [
      { identifier: "kept", directory: "/a", format: "raw", gzip: false, rotateBytes: 5000 },
    ]);
    const level = change("--exporter up --status-level error", present).exportDefinition?.s3TaskExecutor;
    assert.deepEqual(level?.[0]?.statusConfig, { statusStreamName: "told", statusLevel: 0 });
  });

  it("adds a second one beside those of its kind under the name that is given", () => {
    assert.deepEqual(change("--exporter other --http http://a/", present).exportDefinition?.http, [
      { identifier: "web", uri: "http://a/", priority: 3 },
      { identifier: "other", uri: "http://a/" },
    ]);
  });

  it("removes exporters of any kind", () => {
    const { exportDefinition, options } = change("--remove-exporter web --remove-exporter kept", present);
    assert.deepEqual([exportDefinition?.http, options.files], [[], []]);
  });

  it("says what does not go together, and of which exporter it would have to know", () => {
    refuses("--priority 1", /^--priority needs to know of which exporter: --kinesis, /);
    refuses("--gzip", /^--gzip needs/);
    refuses("--kinesis k --http-format json", /^--http-format does not go with exporter "kinesis-k"$/);
    refuses("--s3 --in-flight 2", /^--in-flight does not go with exporter "s3"$/);
    refuses("--s3 --batch-size 1", /^--batch-size does not go with exporter "s3"$/);
    refuses("--exporter x --kinesis a --kinesis b", /^--exporter names one exporter, and 2 destinations/);
    refuses("--exporter nobody --priority 1", /^the stream has no exporter "nobody"$/, present);
    refuses("--exporter web --kinesis a", /^exporter "web" is of another kind: http$/, present);
    refuses("--s3 --priority 1", /^--exporter must say which one is meant: "up", "down"$/, present);
    const both = /exporter "kept" cannot be removed and given by one command/;
    refuses("--remove-exporter kept --exporter kept --priority 1", both, present);
    refuses("--remove-exporter kept --kinesis elsewhere --exporter kept", both, present);
    refuses("--remove-exporter nobody", /no exporter "nobody"/, present);
    const taken: PresentExporters = {
      exportDefinition: { http: [{ identifier: "http-a", uri: "http://a/?1" }] },
      options: {},
    };
    refuses("--http http://a/?2", /^the new exporter would be "http-a", which there is/, taken);
  });
});
