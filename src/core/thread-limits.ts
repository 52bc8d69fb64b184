/** Threads of an engine: how many, how large, where. */
export const WORKERS_MAX = 64;
export const WORKERS_AUTO_MAX = 4;
/**
 * Young objects of a stream worker's heap. What passes through a worker lies outside its heap; with V8's own 48 the opening of 1,000
 * streams left 14 MiB of garbage resident, and appends took as much CPU.
 */
export const WORKER_YOUNG_GENERATION_MIB = 3;
/** Below, the SDK of an export would not fit. */
export const WORKER_HEAP_MIB_MIN = 64;
export const WORKER_HEAP_MIB_MAX = 16_384;
/** The highest number of a CPU that kernels for x86-64 and arm64 are built for; native-bindings/thread-placement.c counts them. */
export const THREAD_CPU_MAX = 8191;
export const EXPORT_POOL_THREADS_DEFAULT = 2;
export const WORKER_DEATHS_MAX = 5;
export const WORKER_DEATHS_WINDOW_MS = 60_000;
