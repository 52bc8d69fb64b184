import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { describe, it } from "node:test";
import { describeEnvironment } from "../../bench/environment.ts";
import { formatFigure } from "../../bench/figure-kinds.ts";
import { emptyCaseValues } from "../../bench/scenario/case-record.ts";
import { TABLE_WIDTH, TablePrinter } from "../../bench/table-printer.ts";

const values = Object.fromEntries(Object.keys(emptyCaseValues).map((key) => [key, 2_812_345]));
const longName = "append one message a frame in ready bytes, File, named producer";

function printed(width: number): string[] {
  const lines: string[] = [];
  const table = new TablePrinter({ writeLine: (line) => lines.push(...line.split("\n")), width });
  table.print({ name: "append 64 KiB batches, File", values });
  table.print({ name: longName, values });
  table.print({ name: "ratios", values: { ...emptyCaseValues, one_message_vs_sink: 0.5 } });
  table.finish();
  return lines;
}

describe("TablePrinter", () => {
  it("fits a terminal with what matters, and names what it left out", () => {
    const lines = printed(TABLE_WIDTH);
    for (const line of lines) assert.ok(line.length <= TABLE_WIDTH, `${line.length}: ${line}`);
    const text = lines.join("\n");
    assert.match(text, /^append 64 KiB batches, File +2,812,345( +2,812,345){6}$/m);
    assert.match(text, new RegExp(`^${longName.replaceAll(/[()]/g, ".")}\n {44} 2,812,345`, "m"));
    assert.match(text, /^one_message_vs_sink +0\.5$/m);
    assert.match(text, /--wide:\n {2}mib_per_s, ack_p99_99_us, ack_max_us,/);
  });

  it("shows every figure when asked for", () => {
    const lines = printed(Infinity);
    assert.equal(lines.find((line) => line.startsWith("append 64"))?.match(/2,812,345/g)?.length, 13);
    assert.ok(!lines.join("\n").includes("--wide"));
  });

  it("says where it was measured in lines that fit", () => {
    const lines: string[] = [];
    const table = new TablePrinter({ writeLine: (line) => lines.push(line), width: TABLE_WIDTH });
    const settings = Object.fromEntries(
      Array.from({ length: 30 }, (_, index) => [`setting_${index}`, index]),
    );
    table.printEnvironment(describeEnvironment({ storeRoot: tmpdir(), dataSet: "tensors", settings }));
    assert.match(lines[1]!, /data set tensors, load average/);
    assert.equal(lines.join(" ").match(/setting_\d+=/g)?.length, 30);
    for (const line of lines.slice(1)) assert.ok(line.length <= TABLE_WIDTH, line);
  });
});

describe("formatFigure", () => {
  it("sets thousands apart and keeps four digits of what is smaller", () => {
    assert.deepEqual([1_234_567.8, 999.96, 0.123456, 0, "text", null].map(formatFigure), [
      "1,234,568",
      "1000",
      "0.1235",
      "0",
      "text",
      "-",
    ]);
  });
});
