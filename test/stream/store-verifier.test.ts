import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { checkCursor } from "../../src/cli/store/cursor-check.ts";
import { Persistence } from "../../src/core/stream-definition.ts";
import { uploadPath, writeUploadFile } from "../../src/export/upload-file.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import { fileStorage, lookAtFile } from "../../src/log/file-storage.ts";
import type { Finding } from "../../src/log/findings.ts";
import { writeProducers } from "../../src/log/producers-file.ts";
import { definitionPath, encodeDefinition, readDefinitionFile } from "../../src/stream/definition-file.ts";
import { verifyStore, type StoreVerdict, type VerifyProgress } from "../../src/stream/store-verifier.ts";
import { EXPORTER_ID, flipBit, makeStore, writeCursor, type StoreFixture } from "../support/store-fixture.ts";

function verify(
  storeDirectory: string,
  options: { isLive?: boolean; name?: string } = {},
): { verdict: StoreVerdict; findings: Finding[]; progress: VerifyProgress[] } {
  const { isLive = false, name } = options;
  const progress: VerifyProgress[] = [];
  const walk = verifyStore({
    storage: fileStorage,
    lookAt: lookAtFile,
    storeDirectory,
    isLive,
    isWanted: name === undefined ? undefined : (stream) => stream.name === name,
    checkCursor: (place) => checkCursor(fileStorage, place),
  });
  let step = walk.next();
  while (step.done !== true) {
    progress.push(step.value);
    step = walk.next();
  }
  const verdict = step.value;
  const findings = [verdict.findings, ...verdict.streams.map((stream) => stream.findings)];
  return { verdict, findings: findings.flatMap(({ kept }) => kept), progress };
}

function briefly(findings: readonly Finding[]): string[] {
  return findings.map(({ severity, path: place }) => `${severity} ${place}`).sort();
}

function segmentsOf({ streams }: StoreFixture, index = 0): string[] {
  const { directory } = streams[index]!;
  const names = readdirSync(directory).filter((name) => name.endsWith(".lz4"));
  return names.sort().map((name) => path.join(directory, name));
}

describe("verifyStore", () => {
  it("finds nothing in a store that was stopped, and says what it holds", async (t) => {
    const store = await makeStore(t);
    const { verdict, findings, progress } = verify(store.storeDirectory);
    assert.deepEqual(findings, []);
    assert.deepEqual([verdict.format, verdict.epoch], [1, 1]);
    assert.deepEqual(
      verdict.streams.map(({ name, persistence, contents }) => [name, persistence, contents.messages]),
      [
        ["first", Persistence.File, 60],
        ["memory", Persistence.Memory, 0],
        ["second", Persistence.File, 60],
      ],
    );
    const sizes = [...segmentsOf(store, 0), ...segmentsOf(store, 1)].map((file) => statSync(file).size);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    assert.ok(progress.every(({ totalBytes }) => totalBytes === total));
    assert.equal(progress.at(-1)?.doneBytes, total);
    const one = verify(store.storeDirectory, { name: "second" });
    assert.deepEqual(
      one.verdict.streams.map(({ name }) => name),
      ["second"],
    );
    assert.equal(one.progress.at(-1)?.totalBytes, one.verdict.streams[0]?.contents.storedBytes);
  });

  it("names each small file in which a bit has flipped", async (t) => {
    const store = await makeStore(t);
    const { storeDirectory, streams } = store;
    const [{ directory, streamId }] = streams as [(typeof streams)[0]];
    const cursor = `exporters/${EXPORTER_ID}.cursor`;
    const place = `streams/${streamId}`;
    const cases: [string, number, string][] = [
      [`${storeDirectory}/epoch`, 17, "damage epoch"],
      [`${storeDirectory}/format`, 0, "damage format"],
      [`${directory}/definition`, 40, `damage ${place}/definition`],
      [`${directory}/producers`, 30, `damage ${place}/producers`],
      [`${directory}/${cursor}`, 100, `torn ${place}/${cursor}`],
      [`${directory}/${cursor}`, 4096 + 24, `torn ${place}/${cursor}`],
    ];
    for (const [file, offset, wanted] of cases) {
      flipBit(file, offset);
      assert.deepEqual(briefly(verify(storeDirectory).findings), [wanted]);
      flipBit(file, offset);
    }
    flipBit(`${directory}/${cursor}`, 100);
    flipBit(`${directory}/${cursor}`, 4096 + 100);
    assert.deepEqual(briefly(verify(storeDirectory).findings), [`damage ${place}/${cursor}`]);
  });

  it("names each small file that is another stream's, and takes no word of it", async (t) => {
    const { storeDirectory, streams } = await makeStore(t);
    const [own, other] = streams as [(typeof streams)[0], (typeof streams)[0]];
    await writeCursor(other, 500);
    writeProducers(fileStorage, other.directory, { endSequence: 500, states: [] });
    const place = `streams/${own.streamId}`;
    const names = [`exporters/${EXPORTER_ID}.cursor`, "producers"];
    for (const name of names) renameSync(path.join(other.directory, name), path.join(own.directory, name));
    assert.deepEqual(
      briefly(verify(storeDirectory).findings).sort(),
      names.map((name) => `damage ${place}/${name}`),
    );
  });

  it("knows what an exporter keeps of an upload, and tells when it is damaged or another stream's", async (t) => {
    const { storeDirectory, streams } = await makeStore(t);
    const [own, other] = streams as [(typeof streams)[0], (typeof streams)[0]];
    const place = { streamDirectory: own.directory, exporterId: EXPORTER_ID };
    writeUploadFile(fileStorage, place, Buffer.from("{}"));
    assert.deepEqual(verify(storeDirectory).findings, []);
    flipBit(uploadPath(place), 17);
    const wanted = [`damage streams/${own.streamId}/exporters/${EXPORTER_ID}.upload`];
    assert.deepEqual(briefly(verify(storeDirectory).findings), wanted);
    writeUploadFile(fileStorage, { ...place, streamDirectory: other.directory }, Buffer.from("{}"));
    renameSync(uploadPath({ ...place, streamDirectory: other.directory }), uploadPath(place));
    assert.deepEqual(briefly(verify(storeDirectory).findings), wanted);
  });

  it("takes an exporter's word for what the log once had", async (t) => {
    const store = await makeStore(t);
    await writeCursor(store.streams[0]!, 75);
    const [finding, ...others] = verify(store.storeDirectory).findings;
    assert.deepEqual(others, []);
    assert.deepEqual([finding?.severity, finding?.fromSequence, finding?.toSequence], ["damage", 60, 75]);
  });

  it("reads no link and no pipe, and says who may touch what", async (t) => {
    const store = await makeStore(t);
    const { storeDirectory, streams } = store;
    const [first, second, third] = segmentsOf(store);
    const place = `streams/${streams[0]!.streamId}`;
    renameSync(first!, path.join(storeDirectory, "elsewhere"));
    symlinkSync(path.join(storeDirectory, "elsewhere"), first!);
    rmSync(second!);
    execFileSync("mkfifo", ["-m", "600", second!]);
    linkSync(third!, path.join(storeDirectory, "name"));
    chmodSync(path.join(storeDirectory, "token"), 0o644);
    chmodSync(streams[1]!.directory, 0o755);
    mkdirSync(path.join(storeDirectory, "tokens"), { mode: 0o700 });
    writeFileSync(path.join(storeDirectory, "tokens", "camera"), "", { mode: 0o600 });
    writeFileSync(path.join(storeDirectory, "tokens", "open"), "");
    chmodSync(path.join(storeDirectory, "tokens", "open"), 0o660);
    const { findings } = verify(storeDirectory);
    const wanted = [
      "foreign elsewhere",
      "foreign name",
      `rights ${place}/${path.basename(first!)}`,
      `rights ${place}/${path.basename(second!)}`,
      `rights ${place}/${path.basename(third!)}`,
      "rights token",
      "rights tokens/open",
      `rights streams/${streams[1]!.streamId}`,
    ];
    const rights = findings.filter(({ severity }) => severity !== "damage");
    assert.deepEqual(briefly(rights), wanted.sort());
    for (const { text } of findings) assert.doesNotMatch(text, /x{10}/, "no secret is shown");
  });

  it("names what is foreign, and what a crash left", async (t) => {
    const { storeDirectory, streams } = await makeStore(t);
    const [{ directory, streamId }] = streams as [(typeof streams)[0]];
    const place = `streams/${streamId}`;
    for (const file of ["notes.txt", "format.tmp", `${place}/core`, `${place}/definition.tmp`]) {
      writeFileSync(path.join(storeDirectory, file), "x", { mode: 0o600 });
    }
    writeFileSync(path.join(directory, "00000000000000000000-0001.lz4.damaged"), "", { mode: 0o600 });
    mkdirSync(path.join(storeDirectory, "streams", `${"0".repeat(32)}.deleted`), { mode: 0o700 });
    mkdirSync(path.join(storeDirectory, "streams", "1".repeat(32)), { mode: 0o700 });
    mkdirSync(path.join(storeDirectory, "streams", "lost+found"), { mode: 0o700 });
    for (const probe of ["doctor", "tune-4711"])
      mkdirSync(path.join(storeDirectory, `${probe}-0123456789abcdef.tmp`), { mode: 0o700 });
    assert.deepEqual(
      briefly(verify(storeDirectory).findings),
      [
        "foreign notes.txt",
        "foreign streams/lost+found",
        `foreign ${place}/core`,
        `note ${place}/00000000000000000000-0001.lz4.damaged`,
        "torn doctor-0123456789abcdef.tmp",
        "torn format.tmp",
        "torn tune-4711-0123456789abcdef.tmp",
        `torn ${place}/definition.tmp`,
        `torn streams/${"0".repeat(32)}.deleted`,
        `torn streams/${"1".repeat(32)}`,
      ].sort(),
    );
    // An engine that runs is at work on those.
    const live = briefly(verify(storeDirectory, { isLive: true }).findings);
    assert.deepEqual(
      live.filter((text) => text.startsWith("torn")),
      [],
    );
  });

  it("verifies the segments of a stream without a definition, and tells two streams of one name", async (t) => {
    const { storeDirectory, streams } = await makeStore(t);
    rmSync(path.join(streams[0]!.directory, "definition"));
    const { verdict, findings } = verify(storeDirectory);
    assert.deepEqual(briefly(findings), [`damage streams/${streams[0]!.streamId}`]);
    const nameless = verdict.streams.find(({ streamId }) => streamId === streams[0]!.streamId);
    assert.deepEqual([nameless?.name, nameless?.contents.messages], [undefined, 60]);
    const [first, second] = streams.map(({ directory }) => directory);
    copyFileSync(definitionPath(second!), definitionPath(first!));
    const foreign = `damage streams/${streams[0]!.streamId}/definition`;
    assert.deepEqual(briefly(verify(storeDirectory).findings), [foreign]);
    const stored = readDefinitionFile(fileStorage, second!);
    writeDurableFile(fileStorage, definitionPath(first!), encodeDefinition(stored, first!));
    const twice = verify(storeDirectory).findings;
    assert.equal(twice.length, 1);
    assert.match(twice[0]!.text, /has the name of [0-9a-f]{32}, "second"/);
  });

  it("lists what starts have kept of damaged files, and what else lies there", async (t) => {
    const { storeDirectory, streams } = await makeStore(t);
    const own = path.join(storeDirectory, "quarantine", streams[0]!.streamId);
    mkdirSync(path.dirname(own), { mode: 0o700 });
    mkdirSync(own, { mode: 0o700 });
    const name = "0000000002-00000000000000000000-0000-000000004096.bytes";
    writeFileSync(path.join(own, name), "torn", { mode: 0o600 });
    writeFileSync(path.join(own, "notes.txt"), "mine", { mode: 0o600 });
    writeFileSync(path.join(storeDirectory, "quarantine", "other"), "mine", { mode: 0o600 });
    const place = `quarantine/${streams[0]!.streamId}`;
    assert.deepEqual(
      briefly(verify(storeDirectory).findings).sort(),
      [`foreign ${place}/notes.txt`, "foreign quarantine/other", `note ${place}/${name}`].sort(),
    );
  });

  it("takes an empty directory for an empty store", async (t) => {
    const { storeDirectory } = await makeStore(t);
    const empty = path.join(storeDirectory, "quarantine");
    mkdirSync(empty, { mode: 0o700 });
    const { verdict, findings } = verify(empty);
    assert.deepEqual(
      [findings, verdict.streams, verdict.format, verdict.epoch],
      [[], [], undefined, undefined],
    );
  });
});
