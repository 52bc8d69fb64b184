import assert from "node:assert/strict";
import path from "node:path";
import { describe, it } from "node:test";
import { STORE_FORMAT } from "../../src/stream/store-format.ts";
import { EngineProcess, temporaryDirectory } from "../support/engine-process.ts";
import {
  connect,
  copyStore,
  goldenContents,
  goldenDirectory,
  PRODUCER_STREAM,
  readContents,
  sendNamed,
} from "./golden-store.ts";

/** Every format that a released version has written. */
const formats = Array.from({ length: STORE_FORMAT }, (_, index) => index + 1);

describe("a golden store", () => {
  for (const format of formats) {
    it(`of format ${format} is opened with all it holds, goes on, and is still whole`, async (t) => {
      const storeDirectory = temporaryDirectory(t);
      const store = path.join(storeDirectory, "store");
      copyStore(goldenDirectory(format), store);
      const expected = goldenContents(format);
      const engine = await EngineProcess.start(t, { storeDirectory });
      const { memory, ...contents } = await readContents(engine);
      assert.deepEqual(contents, expected);
      // What a Memory stream held ended with its process; the stream is there, and numbers from 0.
      assert.equal(memory!.payloadCount, 0);
      assert.equal(memory!.newestSequence, -1);

      // A producer's last batch is known, its next one follows, and a later one is a gap.
      const { newestSequence } = expected[PRODUCER_STREAM]!;
      assert.equal(await sendNamed(engine, { sequence: 3, messages: ["batch 3", "and more of it"] }), newestSequence - 1);
      assert.equal(await sendNamed(engine, { sequence: 9, messages: ["too early"] }), undefined);
      assert.equal(await sendNamed(engine, { sequence: 4, messages: ["next"] }), newestSequence + 1);

      const client = await connect(engine);
      for (const [name, { newestSequence: newest }] of Object.entries(expected)) {
        if (name === PRODUCER_STREAM) continue;
        assert.equal(await client.appendMessage(name, Buffer.from("one more")), newest + 1, name);
      }
      client.close();
      const verified = await engine.run(["store", "verify", "--json"]);
      assert.equal(verified.code, 0, verified.stderr + verified.stdout);
      assert.equal((await engine.stop()).code, 0);

      const reopened = await EngineProcess.start(t, { storeDirectory });
      const later = await readContents(reopened);
      for (const [name, { newestSequence: newest }] of Object.entries(expected))
        assert.equal(later[name]?.newestSequence, newest + 1, name);
    });
  }
});
