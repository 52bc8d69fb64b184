import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { Bench } from "tinybench";

import { systemClock } from "../../src/core/clock.ts";
import { systemRandom } from "../../src/core/random.ts";
import { StrategyOnFull } from "../../src/core/stream-definition.ts";
import { type Batch, BlockBuilder } from "../../src/log/block-builder.ts";
import { fileStorage } from "../../src/log/file-storage.ts";
import { StreamLog } from "../../src/log/stream-log.ts";

const MIB = 1024 * 1024;

/** Inference results of 160 B on average, from a fixed seed. */
function inferenceBatch(sizeBytes: number): Batch {
  let state = 8127;
  const next = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
  const source = Buffer.alloc(sizeBytes);
  let end = 0;
  let messageCount = 0;
  for (;;) {
    const score = (next(10_000) / 10_000).toFixed(4);
    const box = [next(1920), next(1080), next(400), next(400)].join(",");
    const text =
      `{"ts":${1_700_000_000_000 + messageCount * 33},"device":"cam-${next(8)}","model":"yolo-n-${next(3)}",` +
      `"class":"person","score":${score},"box":[${box}],"frame":${messageCount},"latency_ms":${next(40)}.${next(10)}}`;
    if (end + 4 + text.length > sizeBytes) break;
    source.writeUInt32LE(text.length, end);
    source.write(text, end + 4, "latin1");
    end += 4 + text.length;
    messageCount += 1;
  }
  return { source, start: 0, end, messageCount, payloadBytes: end - 4 * messageCount, ingestMs: 1 };
}

/** Append of one full block, LZ4, both checksums and the write included; no flush. */
export async function benchSegmentAppend(options: {
  readonly timeMs: number;
}): Promise<Record<string, number>> {
  const results: Record<string, number> = {};
  for (const blockKib of [64, 256]) {
    const root = mkdtempSync(path.join(tmpdir(), "millrace-bench-"));
    const log = StreamLog.create({
      storage: fileStorage,
      directory: path.join(root, "stream"),
      streamId: "00".repeat(16),
      epoch: 1,
      clock: systemClock,
      random: systemRandom,
      policy: {
        maxSize: 256 * MIB,
        segmentSize: 16 * MIB,
        strategyOnFull: StrategyOnFull.OverwriteOldestData,
        flushOnWrite: false,
        commitAlignBytes: 4096,
        syncBytesMax: 4 * MIB,
      },
    });
    const batch = inferenceBatch(blockKib * 1024);
    const builder = new BlockBuilder();
    const bench = new Bench({ time: options.timeMs });
    bench.add(`append ${blockKib} KiB block`, async () => {
      builder.reset();
      builder.add(batch);
      log.admit(batch.payloadBytes + 24 * batch.messageCount);
      log.append(builder);
      // The sync beside needs the event loop to report back.
      if (log.isSaturated || log.isSyncing) await new Promise((resolve) => setImmediate(resolve));
      while (log.isSaturated) await new Promise((resolve) => setImmediate(resolve));
    });
    await bench.run();
    const latency = bench.tasks[0]?.result;
    if (latency === undefined || !("latency" in latency)) throw new Error("the bench did not complete");
    const { mean, p50, p99 } = latency.latency;
    results[`append_${blockKib}k_messages_per_s`] = Math.round((batch.messageCount / p50) * 1000);
    results[`append_${blockKib}k_mean_messages_per_s`] = Math.round((batch.messageCount / mean) * 1000);
    results[`append_${blockKib}k_p50_us`] = Math.round(p50 * 1000);
    results[`append_${blockKib}k_p99_us`] = Math.round(p99 * 1000);
    results[`append_${blockKib}k_stored_per_accepted_byte`] =
      log.storedBytes / (log.totalBytes - 24 * (log.nextSequence - log.oldestSequence));
    log.close();
    rmSync(root, { recursive: true });
  }
  return results;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  console.log(JSON.stringify(await benchSegmentAppend({ timeMs: 2000 }), undefined, 2));
}
