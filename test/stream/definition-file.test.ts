import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { streamOptionsDefault } from "../../src/core/stream-options.ts";
import { writeDurableFile } from "../../src/log/durable-file.ts";
import {
  type StoredDefinition,
  decodeDefinition,
  definitionPath,
  encodeDefinition,
  readDefinitionFile,
  replaceDefinitionFile,
} from "../../src/stream/definition-file.ts";
import { type Fault, SimStorage, crashStates } from "../support/sim-storage.ts";
import { definitionWith } from "../support/stream-fixture.ts";

const DIRECTORY = "/stream";
const before: StoredDefinition = { definition: definitionWith([]), options: streamOptionsDefault };
const after: StoredDefinition = {
  definition: { ...before.definition, maxSize: 4096 },
  options: { freeExported: true },
};

/** A stream's directory with `before` in it, durable. */
function stored(faults: Record<string, Fault> = {}): SimStorage {
  const storage = new SimStorage({ faults: new Map(Object.entries(faults)) });
  storage.makeDirectory(DIRECTORY);
  storage.syncDirectory("/");
  writeDurableFile(storage, definitionPath(DIRECTORY), encodeDefinition(before, DIRECTORY));
  return storage;
}

describe("decodeDefinition", () => {
  it("gives back what encodeDefinition wrote", () => {
    assert.deepEqual(decodeDefinition(encodeDefinition(after, DIRECTORY), DIRECTORY), after);
  });

  it("reads the first files, which held the definition alone", () => {
    const bytes = Buffer.from(JSON.stringify(before.definition));
    assert.deepEqual(decodeDefinition(bytes, DIRECTORY), before);
  });

  it("refuses a later version and an option that it does not know, rather than to act as if they were not there", () => {
    const later = { version: 2, definition: before.definition, options: {} };
    assert.throws(() => decodeDefinition(Buffer.from(JSON.stringify(later)), DIRECTORY), {
      code: "STORE_READ_ERROR",
      message: /has version 2, this engine knows 1$/,
    });
    const unknown = { version: 1, definition: before.definition, options: { keepForEver: true } };
    assert.throws(() => decodeDefinition(Buffer.from(JSON.stringify(unknown)), DIRECTORY), {
      code: "STORE_READ_ERROR",
      message: /"keepForEver" is not known/,
    });
    assert.throws(() => decodeDefinition(Buffer.from("{"), DIRECTORY), { code: "STORE_READ_ERROR" });
  });

  it("refuses that of another stream, under whose name this one would be served", () => {
    const storage = stored();
    storage.makeDirectory("/other");
    storage.put(definitionPath("/other"), storage.read(definitionPath(DIRECTORY)));
    assert.throws(() => readDefinitionFile(storage, "/other"), {
      code: "STORE_READ_ERROR",
      message: /it is that of another stream$/,
    });
    // Those that were written before say nothing of it.
    const { definition, options } = before;
    const earlier = Buffer.from(JSON.stringify({ version: 1, definition, options }));
    assert.deepEqual(decodeDefinition(earlier, "/other"), before);
  });

  it("refuses what is no definition, whatever JSON it is", () => {
    const { name, ...nameless } = before.definition;
    assert.equal(name, "readings");
    const others = [
      null,
      5,
      [],
      {},
      nameless,
      { ...before.definition, exportDefinition: { kinesis: [null] } },
    ];
    for (const other of others) {
      for (const stored of [other, { version: 1, definition: other, options: {} }]) {
        assert.throws(() => decodeDefinition(Buffer.from(JSON.stringify(stored)), DIRECTORY), {
          code: "STORE_READ_ERROR",
        });
      }
    }
  });
});

describe("replaceDefinitionFile", () => {
  it("leaves the old or the new one wherever a crash strikes, and the new one once it has returned", () => {
    const storage = stored();
    const from = storage.operations.length;
    replaceDefinitionFile(storage, DIRECTORY, after);
    const found = new Set<number>();
    let states = 0;
    for (let operation = from - 1; operation < storage.operations.length; operation++) {
      const isDone = operation === storage.operations.length - 1;
      const crash = { random: () => 0.5, randomSubsets: 3, garbleBytes: 512 };
      for (const state of crashStates(storage, operation, crash)) {
        states += 1;
        const read = readDefinitionFile(state.storage, DIRECTORY);
        assert.deepEqual(read, read.options.freeExported ? after : before, state.label);
        if (isDone) assert.deepEqual(read, after, state.label);
        found.add(read.definition.maxSize);
      }
    }
    assert.equal(found.size, 2, "both were found");
    assert.ok(states > 10);
  });

  it("says that the old one stands when a step before the rename fails, and that it cannot tell after it", () => {
    const operations = stored().operations.length;
    const whole = stored();
    replaceDefinitionFile(whole, DIRECTORY, after);
    const steps = whole.operations.slice(operations).map(({ kind }) => kind);
    const outcomes = steps.map((_, index): string => {
      const storage = stored({ [`any@${operations + index + 1}`]: { code: "EIO" } });
      let code = "durable";
      try {
        replaceDefinitionFile(storage, DIRECTORY, after);
      } catch (thrown) {
        code = (thrown as { code: string }).code;
      }
      const { options } = readDefinitionFile(storage, DIRECTORY);
      const isOld = !options.freeExported;
      assert.equal(isOld, code === "STORAGE_READ_ONLY", `${steps[index]} ${code}`);
      return `${steps[index]} ${code}`;
    });
    assert.deepEqual(outcomes.slice(-2), ["rename STORAGE_READ_ONLY", "syncDirectory UNKNOWN_OUTCOME"]);
    assert.ok(
      outcomes.slice(0, -1).every((outcome) => outcome.endsWith("STORAGE_READ_ONLY")),
      String(outcomes),
    );
  });

  it("does it again after a failure", () => {
    const storage = stored({ "rename@2": { code: "EIO" } });
    assert.throws(() => replaceDefinitionFile(storage, DIRECTORY, after), { code: "STORAGE_READ_ONLY" });
    replaceDefinitionFile(storage, DIRECTORY, after);
    assert.deepEqual(readDefinitionFile(storage, DIRECTORY), after);
  });
});
