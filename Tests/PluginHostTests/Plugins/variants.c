// One plug-in in many versions: each test compiles it with -DVARIANT=… and gets a file that does one thing wrong.
#include <skein_plugin.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

SKEIN_PLUGIN_ABI_MARK;

enum {
  GOOD = 0, CRASH_AT_LOAD, CRASH_IN_CALL, HANG, WRONG_RANGE, UNUSED, FORK, MEMORY, WRONG_ABI, SHORT_TABLES,
  NULL_ENTRY, OTHER_ID, SHORT_PARTITIONER, HANG_AT_LOAD, NETWORK, FORGETS, CRASH_IN_CREATE, EXIT, PRINTS, WRITES_FILE,
  KILLS_PARENT, THREADS, FORGED_FRAMES, READS_FILE, THREAD_STATE
};

static const skein_host *host;
static const skein_host_log *logger;
static const skein_host_config *config;
static const skein_host_metrics *metrics;
static _Atomic int instances;

static skein_bytes text(const char *s) { return (skein_bytes){(const uint8_t *)s, strlen(s)}; }

typedef struct {
  uint64_t number;
  uint64_t metric;
  int after;
} self_t;

static skein_status create(const skein_host *h, uint64_t number, skein_bytes json, void **self, skein_bytes *why) {
  (void)h;
  if (VARIANT == CRASH_IN_CREATE) *(volatile int *)16 = 1;
  if (json.len < 2 || json.ptr[0] != '{') return SKEIN_BAD_CONFIG;
  skein_bytes value;
  if (config && config->lookup(host->ctx, number, text("bad"), &value) == 0) {
    *why = text("the member bad is not wanted");
    return SKEIN_BAD_CONFIG;
  }
  self_t *made = calloc(1, sizeof *made);
  made->number = number;
  if (config && config->lookup(host->ctx, number, text("pool.after"), &value) == 0 && value.len == 1)
    made->after = value.ptr[0] - '0';
  if (config && config->lookup(host->ctx, number, text("secret"), &value) == 0 && logger)
    logger->write(host->ctx, number, SKEIN_LOG_INFO, value.len == 7 ? text("seven") : text("other"));
  if (metrics) made->metric = metrics->define(host->ctx, number, SKEIN_METRIC_COUNTER, text("batches"), text(""));
  if (logger) logger->write(host->ctx, number, SKEIN_LOG_WARNING, text("made\nlevel=forged"));
  atomic_fetch_add(&instances, 1);
  *self = made;
  return SKEIN_OK;
}

static void destroy(void *self) {
  atomic_fetch_sub(&instances, 1);
  free(self);
}

#include <pthread.h>
static void *sleeper(void *x) { pause(); return x; }

/* The key "boom" is where the bad ones go wrong. */
// What libdispatch does, on which the tasks of Swift run: looks at the state of a thread of its own, by its number.
// 2: it may, and cannot open its parent's memory; 3: that too; 1: it may not.
static int32_t told;
static void *teller(void *unused) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%ld/stat", syscall(SYS_gettid));
  FILE *own = fopen(path, "r");
  snprintf(path, sizeof path, "/proc/%ld/mem", (long)getppid());
  FILE *parent = fopen(path, "r");
  told = !own ? 1 : !parent ? 2 : 3;
  if (own) fclose(own);
  if (parent) fclose(parent);
  return unused;
}

static void misbehave(size_t n, int32_t count, int32_t *out) {
  switch (VARIANT) {
    case CRASH_IN_CALL: *(volatile int *)16 = 1; break;
    case HANG: for (;;) pause(); break;
    case WRONG_RANGE: for (size_t i = 0; i < n; i++) out[i] = count; break;
    case FORK: if (fork() == 0) _exit(0); break;
    case EXIT: _exit(3); break;
    case PRINTS: for (int i = 0; i < 100000; i++) fprintf(stderr, "a line that nobody asked for, number %d\n", i); break;
    case MEMORY: { volatile char *p = malloc(400u << 20); for (size_t i = 0; p && i < 400u << 20; i += 4096) p[i] = 1; break; }
    case NETWORK: { extern int socket(int, int, int); int s = socket(2, 1, 0); for (size_t i = 0; i < n; i++) out[i] = s < 0 ? 1 : 2; break; }
    case WRITES_FILE: { FILE *f = fopen("/tmp/skein-plugin-wrote-this", "w"); for (size_t i = 0; i < n; i++) out[i] = f ? 2 : 1; break; }
    case READS_FILE: { FILE *f = fopen("/etc/passwd", "r"); for (size_t i = 0; i < n; i++) out[i] = f ? 2 : 1; break; }
    case KILLS_PARENT: { extern int kill(int, int); kill(getppid(), 0); break; }
    case THREADS: for (int i = 0; i < 100; i++) { pthread_t t; pthread_create(&t, NULL, sleeper, NULL); } break;
    case FORGED_FRAMES: { const unsigned char junk[] = {255, 255, 255, 255, 70, 0, 0, 0}; if (write(3, junk, sizeof junk) < 0) _exit(1); break; }
    case THREAD_STATE: { pthread_t t; pthread_create(&t, NULL, teller, NULL); pthread_join(t, NULL); for (size_t i = 0; i < n; i++) out[i] = told; break; }
    default: break;
  }
}

static void batch(void *raw, const skein_topic *topic, const skein_records *records, int32_t *out) {
  self_t *self = raw;
  if (metrics) metrics->record(host->ctx, self->metric, 1);
  for (uint32_t i = 0; i < records->count; i++) {
    skein_bytes key = records->keys[i];
    uint32_t hash = 2166136261u;
    for (size_t b = 0; b < key.len; b++) hash = (hash ^ key.ptr[b]) * 16777619u;
    out[i] = key.ptr ? (int32_t)(hash % (uint32_t)topic->partitions) : SKEIN_ANY_PARTITION;
    if (VARIANT == FORGETS && key.ptr && key.len == 4) out[i] = INT32_MIN;
  }
  for (uint32_t i = 0; i < records->count; i++)
    if (records->keys[i].len == 4 && memcmp(records->keys[i].ptr, "boom", 4) == 0) {
      misbehave(records->count, topic->partitions, out);
      return;
    }
}

/* Authenticator: the message says what to do. */
#include <time.h>
static const skein_host_async *async_table;
static void *later(void *raw) {
  skein_call call = (skein_call)(uintptr_t)raw;
  struct timespec t = {0, 400 * 1000 * 1000};
  nanosleep(&t, NULL);
  async_table->complete(host->ctx, call, SKEIN_OK, text("late"));
  return NULL;
}
static void step(void *self, skein_call call, uint64_t deadline, uint64_t exchange, skein_bytes mechanism,
                 const skein_peer *peer, skein_bytes message) {
  (void)self; (void)deadline; (void)exchange; (void)mechanism; (void)peer;
  const char *m = (const char *)message.ptr;
  if (message.len == 4 && !memcmp(m, "good", 4)) async_table->complete(host->ctx, call, SKEIN_OK, text("alice"));
  else if (message.len == 6 && !memcmp(m, "double", 6)) {
    async_table->complete(host->ctx, call, SKEIN_OK, text("one"));
    async_table->complete(host->ctx, call, SKEIN_OK, text("two"));
  } else if (message.len == 4 && !memcmp(m, "late", 4)) {
    pthread_t t;
    pthread_create(&t, NULL, later, (void *)(uintptr_t)call);
    pthread_detach(t);
  } else if (message.len == 4 && !memcmp(m, "huge", 4)) {
    static uint8_t big[(1 << 20) + 1];
    async_table->complete(host->ctx, call, SKEIN_OK, (skein_bytes){big, sizeof big});
  } else if (message.len == 5 && !memcmp(m, "never", 5)) {
  } else if (message.len == 5 && !memcmp(m, "crash", 5)) { *(volatile int *)16 = 1; }
  else if (message.len == 6 && !memcmp(m, "status", 6)) async_table->complete(host->ctx, call, 99, text(""));
  else async_table->complete(host->ctx, call, SKEIN_DENIED, text(""));
}
static void end(void *self, uint64_t exchange) { (void)self; (void)exchange; }
static void cancel(void *self, skein_call call) { (void)self; (void)call; }
static void quiesce(void *self, skein_call done) { (void)self; async_table->complete(host->ctx, done, SKEIN_OK, text("")); }

/* Offset store: answers with what it was asked; an empty commit is refused by a fence. */
static void echo(void *self, skein_call call, uint64_t deadline, skein_bytes request) {
  (void)self; (void)deadline;
  async_table->complete(host->ctx, call, SKEIN_OK, request);
}
static void commit(void *self, skein_call call, uint64_t deadline, skein_bytes request) {
  (void)self; (void)deadline;
  async_table->complete(host->ctx, call, request.len == 0 ? SKEIN_DENIED : SKEIN_OK, text(""));
}

static const skein_partitioner partitioner = {
    .size = VARIANT == SHORT_PARTITIONER ? 16 : sizeof(skein_partitioner), .flags = SKEIN_PARTITIONER_PURE,
    .ops = {create, NULL, destroy}, .batch = batch};
static const skein_authenticator authenticator = {
    .size = sizeof(skein_authenticator), .ops = {create, quiesce, destroy}, .step = step, .end = end, .cancel = cancel};
static const skein_offset_store store = {
    .size = sizeof(skein_offset_store), .ops = {create, quiesce, destroy}, .commit = commit, .fetch = echo,
    .scan = echo, .remove = echo, .cancel = cancel};

static const void *get(const char *kind) {
  if (strcmp(kind, VARIANT == WRONG_ABI ? "skein.partitioner/2" : SKEIN_PARTITIONER) == 0) return &partitioner;
  if (strcmp(kind, SKEIN_AUTHENTICATOR) == 0) return &authenticator;
  if (strcmp(kind, SKEIN_OFFSET_STORE) == 0) return &store;
  return NULL;
}

#ifndef VERSION
#define VERSION "1.0.0"
#endif
static const skein_plugin plugin = {
    .size = VARIANT == SHORT_TABLES ? 12 : sizeof(skein_plugin), .abi_minor = SKEIN_ABI_MINOR,
    .id = VARIANT == OTHER_ID ? "com.evil.other" : "com.acme.test", .version = VERSION, .get = get};

__attribute__((constructor)) static void loaded(void) {
  if (VARIANT == CRASH_AT_LOAD) *(volatile int *)16 = 1;
  if (VARIANT == HANG_AT_LOAD) for (;;) pause();
}

SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *h) {
  host = h;
  logger = h->get(h->ctx, SKEIN_HOST_LOG);
  config = h->get(h->ctx, SKEIN_HOST_CONFIG);
  metrics = h->get(h->ctx, SKEIN_HOST_METRICS);
  async_table = h->get(h->ctx, SKEIN_HOST_ASYNC);
  return VARIANT == NULL_ENTRY ? NULL : &plugin;
}
