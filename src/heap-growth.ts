import { setFlagsFromString } from "node:v8";

/** Garbage of four times what lives may gather between two full collections; what lives is about 10 MB. */
const HEAP_GROWING_PERCENT = 400;

/**
 * Lets the heap grow further between two full collections. What comes from sockets lies in buffers outside the heap, which V8
 * counts as the heap's, so that it collected in full about every 11 MB of input, helper threads besides, and found nothing that the
 * next collection of young objects would not have freed. In 64 KiB batches an appended GB took 6.7 CPU-seconds so, and 4.5 with this. Node documents flags set after the start as at one's own risk; V8 reads this one anew at each
 * collection. To be called before the first load.
 */
export function letHeapGrow(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
}
