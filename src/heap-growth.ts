import { setFlagsFromString } from "node:v8";

/** Garbage of four times what lives may gather between two full collections; what lives is about 10 MB. */
const HEAP_GROWING_PERCENT = 400;
/** Under full load the garbage came to 600 MB resident; a machine with less than this keeps V8's own rule. */
const MEMORY_BYTES_MIN = 4 * 1024 ** 3;

/**
 * Lets the heap grow further between two full collections, where there is memory for it. What comes from sockets lies in buffers
 * outside the heap, which V8 counts as the heap's, so that it collected in full about every 11 MB of input, helper threads
 * besides, and found nothing that the next collection of young objects would not have freed. In 64 KiB batches an appended GB
 * took 6.7 CPU-seconds so, and 4.5 with this. Node documents flags set after the start as at one's own risk; V8 reads this one
 * anew at each collection. To be called before the first load. @returns whether it did so
 */
export function letHeapGrow(machine: { readonly memoryBytes: number }): boolean {
  if (machine.memoryBytes < MEMORY_BYTES_MIN) return false;
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
  return true;
}
