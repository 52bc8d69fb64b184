// Appends to a Redis stream by hiredis: `redis-driver HOST:PORT MESSAGES PACK_BYTES WINDOW`.
// WINDOW 0 waits for each answer; above 0 half a window is sent while the other half is answered.
#include "driver.h"
#include <hiredis/hiredis.h>

#define KEY "bench"

static redisReply *answer(redisContext *redis) {
  void *reply = NULL;
  if (redisGetReply(redis, &reply) != REDIS_OK) fail("answer", redis->errstr);
  redisReply *given = reply;
  if (given->type == REDIS_REPLY_ERROR) fail("refused", given->str);
  return given;
}

static void append(redisContext *redis, const Payloads *all, size_t index, const char *entries_max) {
  // The oldest entries make room, about where the caller says: an in-memory store would fill the machine.
  const char *words[] = {"XADD", KEY, "MAXLEN", "~", entries_max, "*", "d", all->payloads[index]};
  size_t lengths[] = {4, strlen(KEY), 6, 1, strlen(entries_max), 1, 1, all->lengths[index]};
  if (redisAppendCommandArgv(redis, 8, words, lengths) != REDIS_OK) fail("append", redis->errstr);
}

static void flush_out(redisContext *redis) {
  int done = 0;
  while (!done)
    if (redisBufferWrite(redis, &done) != REDIS_OK) fail("send", redis->errstr);
}

static void run(redisContext *redis, const Payloads *all, size_t window, const char *entries_max, double seconds,
                Slice *slice) {
  static size_t next = 0;
  memset(slice, 0, offsetof(Slice, latencies_us));
  double start = now_s(), end = start + seconds;
  size_t group = window > 1 ? window / 2 : 1, waiting = 0;
  for (double sent = start; sent < end; sent = now_s()) {
    for (size_t at = 0; at < group; at++) {
      append(redis, all, next, entries_max);
      add_payload(slice, all, next);
      next = (next + 1) % all->count;
    }
    flush_out(redis);
    size_t answered = window > 1 ? waiting : group;
    for (size_t at = 0; at < answered; at++) freeReplyObject(answer(redis));
    waiting = waiting + group - answered;
    if (window == 0) add_latency(slice, now_s() - sent);
  }
  for (; waiting > 0; waiting--) freeReplyObject(answer(redis));
  slice->elapsed_s = now_s() - start;
}

int main(int count, char **words) {
  if (count != 5) fail("usage", "redis-driver HOST:PORT MESSAGES PACK_BYTES WINDOW");
  char *colon = strchr(words[1], ':');
  if (!colon) fail("usage", "HOST:PORT");
  *colon = '\0';
  size_t pack_bytes = (size_t)atol(words[3]);
  Payloads all = load_payloads(words[2], pack_bytes);
  const char *entries_max = pack_bytes > 0 ? "4000" : "1000000";
  redisContext *redis = redisConnect(words[1], atoi(colon + 1));
  if (!redis || redis->err) fail("connect", redis ? redis->errstr : "no memory");
  printf("{\"ready\":true}\n");
  fflush(stdout);
  Slice *slice = malloc(sizeof(Slice));
  for (double seconds = next_order(); seconds >= 0; seconds = next_order()) {
    run(redis, &all, (size_t)atol(words[4]), entries_max, seconds, slice);
    print_slice(slice);
  }
  if (redisAppendCommand(redis, "XINFO STREAM " KEY) != REDIS_OK) fail("describe", redis->errstr);
  redisReply *info = answer(redis);
  long long added = -1;
  for (size_t at = 0; at + 1 < info->elements; at += 2)
    if (strcmp(info->element[at]->str, "entries-added") == 0) added = info->element[at + 1]->integer;
  if (added < 0) fail("XINFO STREAM tells no entries-added", "Redis is older than 7");
  printf("{\"stored_payloads\":%lld}\n", added);
  freeReplyObject(info);
  redisFree(redis);
  return 0;
}
