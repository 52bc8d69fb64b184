// What the drivers of the peers share: messages from a file, orders on standard input, answers on standard output.
//
// The file holds `u32 length, bytes` for each message, little-endian. Orders are lines: `run <seconds>` and `end`. Each is
// answered by one line of JSON.
#ifndef MILLRACE_BENCH_DRIVER_H
#define MILLRACE_BENCH_DRIVER_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// So many of a slice are told. Where there are more they are drawn from the whole slice, each with the same chance.
#define LATENCIES_MAX 200000

typedef struct {
  const char **payloads;
  size_t *lengths;
  // Messages of the bench in each payload: more than one where the program packs them itself.
  size_t *message_counts;
  // Bytes of the messages alone, without the lengths that packing adds.
  size_t *message_bytes;
  size_t count;
} Payloads;

typedef struct {
  double elapsed_s;
  uint64_t messages;
  uint64_t payload_bytes;
  uint64_t latency_count;
  double latencies_us[LATENCIES_MAX];
} Slice;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static double now_s(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint32_t read_u32(const unsigned char *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

// With `pack_bytes` above 0, as many whole messages with their lengths as fit go into one payload.
static Payloads load_payloads(const char *path, size_t pack_bytes) {
  FILE *file = fopen(path, "rb");
  if (!file) fail("cannot open the messages", path);
  fseek(file, 0, SEEK_END);
  size_t size = (size_t)ftell(file);
  rewind(file);
  char *data = malloc(size + 1);
  if (!data || fread(data, 1, size, file) != size) fail("cannot read the messages", path);
  fclose(file);
  size_t room = 1024;
  Payloads all = {malloc(room * sizeof(char *)), malloc(room * sizeof(size_t)), malloc(room * sizeof(size_t)),
                  malloc(room * sizeof(size_t)), 0};
  for (size_t at = 0; at + 4 <= size;) {
    size_t start = at, messages = 0, message_bytes = 0;
    do {
      size_t length = read_u32((const unsigned char *)data + at);
      if (at + 4 + length > size) fail("the messages end in the middle", path);
      at += 4 + length;
      messages += 1;
      message_bytes += length;
    } while (pack_bytes > 0 && at + 4 <= size &&
             at - start + 4 + read_u32((const unsigned char *)data + at) <= pack_bytes);
    if (all.count == room) {
      room *= 2;
      all.payloads = realloc(all.payloads, room * sizeof(char *));
      all.lengths = realloc(all.lengths, room * sizeof(size_t));
      all.message_counts = realloc(all.message_counts, room * sizeof(size_t));
      all.message_bytes = realloc(all.message_bytes, room * sizeof(size_t));
    }
    size_t skipped = pack_bytes > 0 ? 0 : 4;
    all.payloads[all.count] = data + start + skipped;
    all.lengths[all.count] = at - start - skipped;
    all.message_counts[all.count] = messages;
    all.message_bytes[all.count] = message_bytes;
    all.count += 1;
  }
  if (all.count == 0) fail("no messages in", path);
  return all;
}

// Xorshift with a fixed seed: the same slice gives the same sample.
static uint64_t next_random(void) {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void add_latency(Slice *slice, double seconds) {
  uint64_t index = slice->latency_count++;
  if (index >= LATENCIES_MAX) {
    index = next_random() % slice->latency_count;
    if (index >= LATENCIES_MAX) return;
  }
  slice->latencies_us[index] = seconds * 1e6;
}

static void add_payload(Slice *slice, const Payloads *all, size_t index) {
  slice->messages += all->message_counts[index];
  slice->payload_bytes += all->message_bytes[index];
}

static void print_slice(const Slice *slice) {
  printf("{\"elapsed_s\":%.6f,\"messages\":%llu,\"payload_bytes\":%llu,\"latencies_us\":[", slice->elapsed_s,
         (unsigned long long)slice->messages, (unsigned long long)slice->payload_bytes);
  uint64_t told = slice->latency_count < LATENCIES_MAX ? slice->latency_count : LATENCIES_MAX;
  for (uint64_t index = 0; index < told; index++)
    printf(index == 0 ? "%.2f" : ",%.2f", slice->latencies_us[index]);
  printf("]}\n");
  fflush(stdout);
}

// Seconds of a `run`, or a negative number for `end` and for the end of the input.
static double next_order(void) {
  char line[64];
  if (!fgets(line, sizeof line, stdin)) return -1;
  if (strncmp(line, "run ", 4) == 0) return atof(line + 4);
  if (strncmp(line, "end", 3) == 0) return -1;
  fail("unknown order", line);
  return -1;
}

#endif
