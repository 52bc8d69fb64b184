import assert from "node:assert/strict";
import type { Compression } from "../../src/client/index.ts";
import type { Bench, BenchOptions, BenchRecord } from "../bench.ts";
import { createInferenceDataSet, type DataSet } from "../data-set.ts";
import { createSensorDataSet } from "../data-set-sensor.ts";
import { createTensorDataSet } from "../data-set-tensor.ts";
import { median, roundTo } from "../statistics.ts";
import { caseRecord } from "./case-record.ts";
import { engineScript, type EngineOptions } from "./append-case.ts";
import { profileArgs } from "./profile-args.ts";
import { startProducerCase } from "./producer-case.ts";
import type { CostedSlice, ScenarioCase } from "./slice.ts";
import { type MeasuredCase, measureInTurns, messageRate, TurnRatios } from "./turns.ts";

const KIB = 1024;
/** Of each data set; the shorter its messages, the more there are. */
const DATA_SET_BYTES = 5e6;
const LARGE_TENSOR_VALUES = 1024;

const dataSets: readonly (() => DataSet)[] = [
  () => createInferenceDataSet(DATA_SET_BYTES / 160),
  () => createSensorDataSet(Math.floor(DATA_SET_BYTES / 65)),
  () => createTensorDataSet(DATA_SET_BYTES / 160),
  () => createTensorDataSet(Math.floor(DATA_SET_BYTES / (4 * LARGE_TENSOR_VALUES)), LARGE_TENSOR_VALUES),
];

/** The same producer, on the same machine as its engine, with compression and without, batches of two sizes. */
export const compressedBench: Bench = {
  name: "compressed",
  secondsDefault: 7,
  settings: { data_set_bytes: DATA_SET_BYTES },
  async *run({
    caseFilter,
    seconds,
    storeRoot,
    profileDirectory,
  }: BenchOptions): AsyncGenerator<BenchRecord> {
    const nodeArgs = profileArgs(profileDirectory);
    for (const createDataSet of dataSets) {
      const dataSet = createDataSet();
      const cases = casesOf(dataSet, { engineScript, storeRoot, nodeArgs });
      const wanted = cases.filter(({ name }) => name.includes(caseFilter));
      const measured = new Map<string, readonly CostedSlice[]>();
      for await (const one of measureInTurns(wanted, seconds)) {
        measured.set(one.name, one.slices);
        yield recordOf(one);
      }
      for (const kib of batchKibs) yield* compare(measured, dataSet.name, kib);
    }
  },
};

/** On one machine, smaller ones than 48 KiB are plain either way. */
const batchKibs = [64, 256] as const;

function nameOf(dataSet: string, kib: number, compression: Compression): string {
  return `${dataSet}, ${kib} KiB, ${compression === "lz4" ? "lz4" : "plain"}`;
}

/** Those that are compared take turns. */
function casesOf(dataSet: DataSet, engine: EngineOptions): ScenarioCase[] {
  return batchKibs.flatMap((kib) =>
    (["none", "lz4"] as const).map((compression) => ({
      name: nameOf(dataSet.name, kib, compression),
      start: async () => startProducerCase({ ...engine, dataSet, batchBytes: kib * KIB, compression }),
    })),
  );
}

function recordOf({ name, slices, end }: MeasuredCase): BenchRecord {
  const record = caseRecord(name, slices, { end, waitedFor: null });
  const wire = roundTo(median(slices.map(wireShare)), 3);
  return { ...record, values: { ...record.values, wire_bytes_per_accepted_byte: wire } };
}

/** Compressed against plain, of neighbouring rounds. */
function* compare(
  measured: ReadonlyMap<string, readonly CostedSlice[]>,
  dataSet: string,
  kib: number,
): Generator<BenchRecord> {
  const plain = measured.get(nameOf(dataSet, kib, "none"));
  const lz4 = measured.get(nameOf(dataSet, kib, "lz4"));
  if (!plain || !lz4) return;
  const ratios = new TurnRatios();
  const looks = {
    cpu_lz4_vs_plain: cpuPerByte,
    engine_cpu_lz4_vs_plain: engineCpuPerByte,
    driver_cpu_lz4_vs_plain: driverCpuPerByte,
    lz4_vs_plain: messageRate,
    wire_lz4_vs_plain: wireShare,
  };
  for (const [key, of] of Object.entries(looks)) ratios.add(key, [lz4, plain], of);
  yield { name: `${dataSet}, ${kib} KiB, lz4 / plain`, values: ratios.values, rounds: ratios.rounds };
}

function cpuPerByte(slice: CostedSlice): number {
  return engineCpuPerByte(slice) + driverCpuPerByte(slice);
}

function engineCpuPerByte({ serverCpuS, payloadBytes }: CostedSlice): number {
  return serverCpuS / payloadBytes;
}

function driverCpuPerByte({ driverCpuS, payloadBytes }: CostedSlice): number {
  return driverCpuS / payloadBytes;
}

function wireShare({ sentBytes, payloadBytes }: CostedSlice): number {
  assert(sentBytes !== undefined, "the producer counts what it sends");
  return sentBytes / payloadBytes;
}
