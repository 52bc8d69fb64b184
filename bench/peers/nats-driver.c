// Publishes to a JetStream stream by the C client: `nats-driver URL MESSAGES PACK_BYTES WINDOW`.
// WINDOW 0 waits for each acknowledgement; above 0 so many are asynchronous at once.
#include "driver.h"
#include <nats/nats.h>

#define SUBJECT "bench"
#define STREAM_BYTES_MAX (1024LL * 1024 * 1024)
#define WAIT_MS 30000

static void check(natsStatus status, const char *what) {
  if (status != NATS_OK) fail(what, natsStatus_GetText(status));
}

static volatile int refused = 0;

static void on_refused(jsCtx *js, jsPubAckErr *error, void *closure) {
  (void)js;
  (void)closure;
  fprintf(stderr, "publish refused: %s\n", error->ErrText);
  refused = 1;
}

static void run(jsCtx *js, const Payloads *all, int64_t window, double seconds, Slice *slice) {
  static size_t next = 0;
  memset(slice, 0, offsetof(Slice, latencies_us));
  double start = now_s(), end = start + seconds, sent = start;
  while (sent < end) {
    const void *payload = all->payloads[next];
    int length = (int)all->lengths[next];
    if (window == 0) {
      check(js_Publish(NULL, js, SUBJECT, payload, length, NULL, NULL), "publish");
      double answered = now_s();
      add_latency(slice, answered - sent);
      sent = answered;
    } else {
      check(js_PublishAsync(js, SUBJECT, payload, length, NULL), "publish");
      sent = now_s();
    }
    add_payload(slice, all, next);
    next = (next + 1) % all->count;
  }
  if (window > 0) {
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.MaxWait = WAIT_MS;
    check(js_PublishAsyncComplete(js, &options), "wait for the acknowledgements");
  }
  slice->elapsed_s = now_s() - start;
  if (refused) fail("publish", "refused");
}

int main(int count, char **words) {
  if (count != 5) fail("usage", "nats-driver URL MESSAGES PACK_BYTES WINDOW");
  Payloads all = load_payloads(words[2], (size_t)atol(words[3]));
  int64_t window = atol(words[4]);
  natsConnection *connection = NULL;
  jsCtx *js = NULL;
  check(natsConnection_ConnectTo(&connection, words[1]), "connect");
  jsOptions options;
  check(jsOptions_Init(&options), "options");
  options.PublishAsync.MaxPending = window > 0 ? window : 1;
  options.PublishAsync.StallWait = WAIT_MS;
  options.PublishAsync.ErrHandler = on_refused;
  check(natsConnection_JetStream(&js, connection, &options), "JetStream");
  jsStreamConfig config;
  check(jsStreamConfig_Init(&config), "stream");
  const char *subjects[] = {SUBJECT};
  config.Name = "BENCH";
  config.Subjects = subjects;
  config.SubjectsLen = 1;
  config.Storage = js_FileStorage;
  config.MaxBytes = STREAM_BYTES_MAX;
  config.Discard = js_DiscardOld;
  check(js_AddStream(NULL, js, &config, NULL, NULL), "create the stream");
  printf("{\"ready\":true}\n");
  fflush(stdout);
  Slice *slice = malloc(sizeof(Slice));
  for (double seconds = next_order(); seconds >= 0; seconds = next_order()) {
    run(js, &all, window, seconds, slice);
    print_slice(slice);
  }
  jsStreamInfo *info = NULL;
  check(js_GetStreamInfo(&info, js, "BENCH", NULL, NULL), "describe the stream");
  printf("{\"stored_payloads\":%llu,\"first\":%llu}\n", (unsigned long long)info->State.LastSeq,
         (unsigned long long)info->State.FirstSeq);
  jsStreamInfo_Destroy(info);
  jsCtx_Destroy(js);
  natsConnection_Destroy(connection);
  return 0;
}
