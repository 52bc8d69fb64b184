import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encode as encodeWithCborg } from "cborg";
import { MillraceError } from "../../src/core/errors.ts";
import { CBOR_DEPTH_MAX, CBOR_MAP_KEYS_MAX } from "../../src/core/limits.ts";
import { CborReader } from "../../src/wire/cbor-reader.ts";
import { CborWriter } from "../../src/wire/cbor-writer.ts";
import { seededRandom, testSeed } from "../support/seeded-random.ts";

const MIB = 1024 * 1024;

function reader(hex: string): CborReader {
  return new CborReader(new Uint8Array(Buffer.from(hex.replace(/\s/g, ""), "hex")));
}

function number(hex: string): number | bigint {
  const source = reader(hex);
  const value = source.readNumber("n");
  source.finish();
  return value;
}

function text(hex: string, bytesMax = 1000): string {
  const source = reader(hex);
  const value = source.readText("t", bytesMax);
  source.finish();
  return value;
}

function skip(bytes: Uint8Array): void {
  const source = new CborReader(bytes);
  source.skip();
  source.finish();
}

function refused(bytes: Uint8Array | string, pattern: RegExp): void {
  const input =
    typeof bytes === "string" ? new Uint8Array(Buffer.from(bytes.replace(/\s/g, ""), "hex")) : bytes;
  assert.throws(
    () => skip(input),
    (thrown) =>
      thrown instanceof MillraceError && thrown.code === "MALFORMED_CBOR" && pattern.test(thrown.message),
  );
}

describe("CborReader accepts what the official clients send (PROTOCOL 2.1)", () => {
  it("integers in every width, the shortest or not, exactly up to 64 bits", () => {
    assert.equal(number("17"), 23);
    assert.equal(number("1817"), 23);
    assert.equal(number("190017"), 23);
    assert.equal(number("1a00000017"), 23);
    assert.equal(number("1b0000000000000017"), 23);
    assert.equal(number("1b001fffffffffffff"), Number.MAX_SAFE_INTEGER);
    assert.equal(number("1b0020000000000000"), 2n ** 53n);
    assert.equal(number("1b0020000000000001"), 2n ** 53n + 1n);
    assert.equal(number("1b7fffffffffffffff"), 2n ** 63n - 1n);
    assert.equal(number("1bffffffffffffffff"), 2n ** 64n - 1n);
    assert.equal(number("20"), -1);
    assert.equal(number("3903e7"), -1000);
    assert.equal(number("3b001ffffffffffffe"), -Number.MAX_SAFE_INTEGER);
    assert.equal(number("3b001fffffffffffff"), -(2n ** 53n));
    assert.equal(number("3b7fffffffffffffff"), -(2n ** 63n));
  });

  it("floats of 16, 32 and 64 bits", () => {
    assert.equal(number("fa5a000000"), 2 ** 53);
    assert.equal(number("fa5f000000"), 2 ** 63);
    assert.equal(number("fa44801000"), 1024.5);
    assert.ok(Object.is(number("f98000"), -0));
    assert.equal(number("f93c00"), 1);
    assert.equal(number("f97bff"), 65504);
    assert.equal(number("f90001"), 2 ** -24);
    assert.equal(number("f97c00"), Infinity);
    assert.ok(Number.isNaN(number("f97e00")));
    assert.equal(number("fb7e37e43c8800759c"), 1e300);
  });

  it("text whole and in chunks", () => {
    assert.equal(text("60"), "");
    assert.equal(text("62c3bc"), "ü");
    assert.equal(text("7f657374726561646d696e67ff"), "streaming");
    assert.equal(text("7f60ff"), "");
    assert.equal(text("7fff"), "");
    const long = "x".repeat(3996);
    const chunked = `7f790f9c${Buffer.from(long).toString("hex")}61 79ff`;
    assert.equal(text(chunked, 4000), `${long}y`);
  });

  it("definite and indefinite maps and arrays, within each other", () => {
    for (const hex of [
      "a2616101616282 0203",
      "bf616101616282 0203ff",
      "a26161016162 9f0203ff",
      "bf61610161629f0203ffff",
    ]) {
      const source = reader(hex);
      const seen: unknown[] = [];
      source.openMap("m");
      while (source.nextKey()) {
        seen.push(source.key);
        if (source.key === "a") {
          seen.push(source.readNumber("a"));
        } else {
          source.openArray("b");
          while (source.nextItem()) seen.push(source.readNumber("item"));
        }
      }
      source.finish();
      assert.deepEqual(seen, ["a", 1, "b", 2, 3], hex);
    }
  });

  it("booleans, and null as an absent value", () => {
    assert.equal(reader("f5").readBoolean("b"), true);
    assert.equal(reader("f4").readBoolean("b"), false);
    assert.equal(reader("f6").takeNull(), true);
    assert.equal(reader("f5").takeNull(), false);
  });

  it("bytes as a view", () => {
    const input = Uint8Array.of(0x43, 1, 2, 3);
    const bytes = new CborReader(input).readBytes("b");
    assert.deepEqual(bytes, Uint8Array.of(1, 2, 3));
    assert.equal(bytes.buffer, input.buffer);
  });
});

describe("CborReader refuses hostile bytes (RELIABILITY 4)", () => {
  it("nesting deeper than the limit, in arrays, maps and indefinite ones (row 22)", () => {
    const nested = (head: number[], tail: number[], depth: number) =>
      Uint8Array.from([
        ...Array.from({ length: depth }, () => head).flat(),
        0,
        ...Array.from({ length: depth }, () => tail).flat(),
      ]);
    for (const [head, tail] of [
      [[0x81], []],
      [[0x9f], [0xff]],
      [[0xa1, 0x61, 0x61], []],
      [[0xbf, 0x61, 0x61], [0xff]],
    ] as const) {
      skip(nested([...head], [...tail], CBOR_DEPTH_MAX));
      refused(nested([...head], [...tail], CBOR_DEPTH_MAX + 1), /nesting deeper than 16/);
    }
    for (const byte of [0x81, 0x9f]) refused(new Uint8Array(200_000).fill(byte), /nesting deeper than 16/);
    refused(new Uint8Array(200_000).fill(0xc1), /a tag/);
  });

  it("lengths above the bytes that are left, before anything is made of them (row 23)", () => {
    for (const major of ["40", "60", "80", "a0"]) {
      const top = Number.parseInt(major, 16);
      for (const length of ["1affffffff", "1b0020000000000000", "1b7fffffffffffffff", "1bffffffffffffffff"]) {
        const head = (top | Number.parseInt(length.slice(0, 2), 16)).toString(16) + length.slice(2);
        refused(`${head}6161`, /announced/);
      }
    }
    refused("83 01 02", /3 entries announced, at most 2/);
    refused("a2 6161 01", /2 entries announced, at most 1/);
  });

  it("nested arrays that each announce the rest of the input, without making them (row 24)", () => {
    const input = new Uint8Array(MIB);
    const view = new DataView(input.buffer);
    for (let at = 0; at + 5 < input.length; at += 5) {
      input[at] = 0x9a;
      view.setUint32(at + 1, input.length - at - 5);
    }
    const before = process.memoryUsage().heapUsed;
    refused(input, /nesting deeper than 16/);
    assert.ok(process.memoryUsage().heapUsed - before < 8 * MIB);
  });

  it("big numbers of 128 KB by their tag, whatever stands behind it (row 25)", () => {
    const head = Buffer.from("c25a00020000", "hex");
    refused(Buffer.concat([head, Buffer.alloc(128 * 1024, 0xff)]), /a tag \(at byte 0/);
    refused(Buffer.concat([Buffer.from("c3", "hex"), head.subarray(1), Buffer.alloc(128 * 1024)]), /a tag/);
    refused("d818 4161", /a tag/);
    refused("d823 6161", /a tag/);
    assert.throws(() => number("c249ffffffffffffffffff"), /a tag/);
    assert.throws(() => text("d8236161"), /a tag/);
  });

  it("the same key twice, known or unknown, in whatever form it is written (row 27)", () => {
    refused("a2 6161 01 6161 02", /the key "a" twice/);
    refused("bf 6161 01 7f6161ff 02 ff", /the key "a" twice/);
    refused("a1 6178 a2 6161 01 6161 02", /the key "a" twice/);
    skip(Buffer.from("a26161a1616101616201", "hex"));
  });

  it("indefinite byte strings, other simple values, keys that are not text, and bytes behind the value (row 27)", () => {
    refused("5f4101ff", /an indefinite byte string/);
    for (const simple of ["e0", "f7", "f820", "f8ff", "fc", "fd", "fe", "ff"]) refused(simple, /CBOR/);
    const source = reader("a10102");
    source.openMap("m");
    assert.throws(() => source.nextKey(), /a key is an integer, must be text/);
    refused("0000", /1 bytes behind the value/);
    refused("1c", /initial byte 0x1c/);
    refused("1f", /initial byte 0x1f/);
    refused("9b", /end within a value/);
  });

  it("text that is not UTF-8, in values, chunks and keys, also where it is skipped (row 27)", () => {
    for (const bad of ["61ff", "62c328", "63eda080", "64f5808080", "7f61c361bcff", "a161ff01"])
      refused(bad, /UTF-8/);
    assert.throws(() => text("61ff"), /t is not UTF-8/);
  });

  it("chunks of text that are no text, and chunks within chunks", () => {
    refused("7f4161ff", /a chunk of text that is no text/);
    refused("7f7f6161ffff", /a chunk of text that is no text/);
    refused("7f6161", /end within a value/);
  });

  it("text longer than the caller wants, whole or in chunks", () => {
    assert.throws(() => text("6461626364", 3), /t is longer than 3 bytes/);
    assert.throws(() => text("7f626162626364ff", 3), /t is longer than 3 bytes/);
    assert.equal(text("63616263", 3), "abc");
  });

  it("maps of more keys than are remembered", () => {
    const map = (count: number, isDefinite: boolean) => {
      const writer = new CborWriter(0);
      if (isDefinite) writer.map(count);
      for (let index = 0; index < count; index++) writer.text(`k${index}`).integer(index);
      const bytes = writer.finish().subarray(1);
      return isDefinite ? bytes : Uint8Array.from([0xbf, ...bytes, 0xff]);
    };
    for (const isDefinite of [true, false]) {
      skip(map(CBOR_MAP_KEYS_MAX, isDefinite));
      refused(map(CBOR_MAP_KEYS_MAX + 1, isDefinite), /a map of/);
    }
  });

  it("wrong types with a text that names the field", () => {
    assert.throws(
      () => reader("01").readText("definition.name", 10),
      /definition.name is an integer, must be text/,
    );
    assert.throws(
      () => reader("6161").readNumber("definition.maxSize"),
      /definition.maxSize is text, must be a number/,
    );
    assert.throws(() => reader("80").readBoolean("flag"), /flag is an array, must be a boolean/);
    assert.throws(() => reader("f5").readBytes("payload"), /payload is a boolean, must be a byte string/);
    assert.throws(() => reader("f93c00").openMap("m"), /m is a float, must be a map/);
  });

  it("16 MiB of empty arrays in an unknown key without keeping them", () => {
    const input = new Uint8Array(16 * MIB).fill(0x80);
    input[0] = 0x9f;
    input[input.length - 1] = 0xff;
    const before = process.memoryUsage().heapUsed;
    skip(input);
    assert.ok(process.memoryUsage().heapUsed - before < 64 * MIB);
  });
});

describe("CborWriter", () => {
  it("writes what an independent encoder writes", () => {
    const numbers = [
      0,
      23,
      24,
      255,
      256,
      65_535,
      65_536,
      2 ** 32 - 1,
      2 ** 32,
      Number.MAX_SAFE_INTEGER,
      -1,
      -25,
      -(2 ** 33),
    ];
    for (const value of numbers) {
      assert.deepEqual(
        new CborWriter(0).integer(value).finish().subarray(1),
        encodeWithCborg(value),
        String(value),
      );
    }
    for (const value of [
      "",
      "a",
      "x".repeat(23),
      "x".repeat(24),
      "x".repeat(300),
      "ü",
      "日本語",
      "x".repeat(70_000),
    ]) {
      assert.deepEqual(new CborWriter(0).text(value).finish().subarray(1), encodeWithCborg(value));
    }
    for (const length of [0, 23, 24, 255, 256, 70_000]) {
      const value = new Uint8Array(length).fill(length);
      assert.deepEqual(new CborWriter(0).bytes(value).finish().subarray(1), encodeWithCborg(value));
    }
  });

  it("writes an integer above 2^53 - 1 as a float64", () => {
    for (const value of [2 ** 53, 2 ** 63, -(2 ** 53)]) {
      const bytes = new CborWriter(0, 1).integer(value).finish().subarray(1);
      assert.equal(bytes.length, 9);
      assert.equal(bytes[0], 0xfb);
      assert.equal(new CborReader(bytes).readNumber("n"), value);
    }
  });

  it("comes back through the reader for seeded values", () => {
    const random = seededRandom(testSeed);
    for (let round = 0; round < 2000; round++) {
      const value = Math.floor((random.fraction() - 0.5) * 2 ** Math.floor(random.fraction() * 54));
      const bytes = new CborWriter(0).integer(value).finish();
      assert.equal(new CborReader(bytes, 1).readNumber("n"), value, `SEED=${testSeed} round ${round}`);
    }
  });
});
