import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MillraceError } from "../../src/core/errors.ts";
import { assertCpusExist, formatCpuList, parseCpuList, parseThreadCpus } from "../../src/core/thread-cpus.ts";

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof MillraceError);
    assert.equal(error.code, "INVALID_SETTING");
    assert.match(error.message, /^MILLRACE_THREAD_CPUS: "/);
    return error.message.slice("MILLRACE_THREAD_CPUS: ".length);
  }
  assert.fail("it was accepted");
}

describe("parseThreadCpus", () => {
  it("reads roles in any order with CPUs and ranges, ascending and each once", () => {
    assert.deepEqual(parseThreadCpus("stream=1-3;main=0"), { stream: [1, 2, 3], main: [0] });
    assert.deepEqual(parseThreadCpus(" export = 7,2-4,3 ; "), { export: [2, 3, 4, 7] });
  });

  for (const [text, problem] of [
    ["main", /^"main" must be of the form main=<CPUs>;/],
    ["worker=1", /^"worker=1" must be of the form/],
    ["main=0;toString=1", /^"toString=1" must be of the form/],
    ["main=", /^"main=" must be of the form/],
    ["main=0 1", /^"main=0 1" must be of the form/],
    ["main=a", /^"main=a" has "a", which is no CPU and no range$/],
    ["main=1,", /^"main=1," has "", which is no CPU/],
    ["main=-1", /has "-1"/],
    ["main=1-2-3", /has "1-2-3"/],
    ["main=3-1", /^"main=3-1" has the range 3-1, which ends before it begins$/],
    ["main=0;main=1", /^"main=1" is the second for main$/],
    ["stream=0-8192", /has CPU 8192, and there are none above 8191$/],
    [`main=${"1,".repeat(500)}`, /^"main=(1,)+1?…" has/],
  ] as const) {
    it(`refuses ${text.slice(0, 20)}`, () =>
      assert.match(
        refusal(() => parseThreadCpus(text)),
        problem,
      ));
  }
});

describe("formatCpuList", () => {
  it("writes what parseCpuList reads", () => {
    for (const text of ["0", "0-3", "0,2-3,8191", "1,3,5-7"]) {
      const cpus = parseCpuList(text, (problem) => new Error(problem));
      assert.equal(formatCpuList(cpus), text);
    }
    assert.equal(formatCpuList([]), "");
  });
});

describe("assertCpusExist", () => {
  it("names the CPUs that are not there, and those that are", () => {
    assertCpusExist({ main: [0], stream: [1, 2] }, [0, 1, 2, 3]);
    assertCpusExist({}, []);
    assert.equal(
      refusal(() => assertCpusExist({ main: [0], stream: [1, 2, 5, 6] }, [0, 1, 3])),
      '"stream=1-2,5-6" names CPU 2,5-6, and this process may use 0-1,3',
    );
  });
});
