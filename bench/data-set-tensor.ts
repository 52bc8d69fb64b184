import { seededRandom } from "./seeded-random.ts";
import type { DataSet } from "./data-set.ts";

const SEED = 20_251_108;
const FLOAT_BYTES = 4;
/** 160 B, as long as a message of the other data sets is on average. */
const VALUES_DEFAULT = 40;
/** Tensors come from so many layers in turn; each value of a layer wanders on its own. */
const LAYERS = 8;
const STEP = 0.02;

/**
 * Raw float32 tensors, little-endian, as an embedding or an activation is sent: each value wanders from tensor to tensor, so
 * that its low bits are noise and LZ4 finds nothing to shrink. `count` messages of `valueCount` values.
 */
export function createTensorDataSet(count: number, valueCount: number = VALUES_DEFAULT): DataSet {
  const random = seededRandom(SEED);
  // The difference of two fractions: a bell without a function that platforms round differently.
  const noise = (): number => random.fraction() - random.fraction();
  const layers = Array.from({ length: LAYERS }, () => Float64Array.from({ length: valueCount }, noise));
  const messages = Array.from({ length: count }, (_, index) => {
    const values = layers[index % LAYERS]!;
    const bytes = new Uint8Array(valueCount * FLOAT_BYTES);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < valueCount; at++) {
      values[at]! += STEP * noise();
      view.setFloat32(at * FLOAT_BYTES, values[at]!, true);
    }
    return bytes;
  });
  return {
    name: `float32-tensors-${valueCount * FLOAT_BYTES}`,
    messages,
    payloadBytes: count * valueCount * FLOAT_BYTES,
  };
}
