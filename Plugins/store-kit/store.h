/*
 * store.h: what our offset stores in C share. A store is one thread that owns all its connections and a driver (one
 * database's protocol) that it asks what to poll. Calls of the host come in by an inbox and end here, exactly once: by
 * the driver, by their deadline, or by cancel.
 *
 * Threads: everything with "[loop]" runs in the store's thread; the rest says so.
 */
#ifndef SKEIN_STORE_H
#define SKEIN_STORE_H

#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "skein/plugin/v1/offset_store.pb-c.h"
#include "skein_plugin.h"

enum {
  STORE_MOST_POLLED = 40,           /* descriptors of one driver */
  STORE_MOST_OFFSETS = 10000,       /* in one request */
  STORE_MOST_PAGE = 1000,           /* offsets in a page of scan */
  STORE_MOST_RESULT = 1 << 20,      /* bytes; the host takes no more */
  STORE_MOST_OPEN = 4096,           /* calls; the host opens 1,024 */
  STORE_MOST_NAME = 1024,           /* bytes of a tenant's or group's name */
  STORE_MOST_METADATA = 64 << 10,   /* bytes */
};

/* ---- Text and arrays that grow; store_text.c ---- */

/* Bytes with a NUL behind them. After a failed allocation it takes nothing more, and `failed` says so. */
typedef struct store_text {
  char *bytes;
  size_t length, capacity;
  bool failed;
} store_text;

void store_text_add(store_text *text, const char *bytes, size_t length);
void store_text_put(store_text *text, const char *string);
void store_text_format(store_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void store_text_free(store_text *text);
/* A decimal number and nothing else. */
bool store_number(const char *text, size_t length, int64_t *value);

/* ---- Configuration; store_config.c ---- */

/* Reads members of one JSON object; the first problem is kept, and later reads give their fallback. */
typedef struct store_config {
  struct json_t *root;
  const skein_host_config *host; /* reads secrets; NULL: absent */
  void *host_ctx;
  uint64_t instance;
  char *why;       /* 512 bytes; empty: no problem so far */
  unsigned known;  /* members read, to find unknown ones */
} store_config;

bool store_config_open(store_config *config, skein_bytes json);
/* All of these copy: the caller frees. NULL: a problem, or absent and no fallback and not required. */
char *store_config_text(store_config *config, const char *name, const char *fallback, bool required, size_t most);
/* {"secret_file": PATH}: what is in the file, without a newline at its end. */
char *store_config_secret(store_config *config, const char *name);
int64_t store_config_integer(store_config *config, const char *name, int64_t fallback, int64_t least, int64_t most);
bool store_config_flag(store_config *config, const char *name, bool fallback);
/* The index in `words` (ends with NULL); the first is the fallback. */
int store_config_choice(store_config *config, const char *name, const char *const *words);
void store_config_problem(store_config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Frees it. False: there was a problem, or a member that nobody read. */
bool store_config_close(store_config *config);
/* "127.0.0.1", "::1", "localhost": what goes there does not leave the machine. */
bool store_is_loopback(const char *host);
/* Whether it is UTF-8. */
bool store_is_text(const char *bytes, size_t length);

/* ---- Calls and the loop; store_loop.c ---- */

typedef struct store store;
typedef enum { STORE_COMMIT, STORE_FETCH, STORE_SCAN, STORE_REMOVE } store_what;

typedef struct store_call {
  struct store_call *next, *previous; /* the loop's */
  skein_call token;
  uint64_t deadline_ns; /* CLOCK_MONOTONIC */
  store_what what;
  union {
    ProtobufCMessage *any;
    Skein__Plugin__V1__CommitOffsets *commit;
    Skein__Plugin__V1__FetchOffsets *fetch;
    Skein__Plugin__V1__ScanOffsets *scan;
    Skein__Plugin__V1__RemoveOffsets *remove;
  } request;
  void *place; /* the driver's: what it keeps of this call; NULL: nothing */
} store_call;

typedef struct store_driver {
  const char *id, *version;
  /* [control] NULL: the configuration has a problem (in it), or there is no memory (`why` of it says so). */
  void *(*create)(store *owner, store_config *config);
  /* [loop] A new call. The driver ends it by store_end, now or later. */
  void (*submit)(void *driver, store_call *call);
  /* [loop] The call is over; it must not be touched after this. What was sent may still happen. */
  void (*drop)(void *driver, store_call *call);
  /* [loop] Fills `polled`, at most STORE_MOST_POLLED; `*wake_ns` may be lowered. Returns how many. */
  size_t (*prepare)(void *driver, struct pollfd *polled, uint64_t now_ns, uint64_t *wake_ns);
  /* [loop] After the wait, with what `prepare` gave. */
  void (*turn)(void *driver, const struct pollfd *polled, size_t count, uint64_t now_ns);
  /* [control] After the thread has ended; also after `create` alone. */
  void (*destroy)(void *driver);
} store_driver;

/* [loop] Ends a call that the driver has let go of. */
void store_end(store *self, store_call *call, skein_status status, const uint8_t *result, size_t length);
uint64_t store_now(void);
/* [any] A line for the operator; never a secret. */
void store_log(store *self, int32_t level, const char *format, ...) __attribute__((format(printf, 3, 4)));
typedef enum { STORE_COMMITS, STORE_DENIED, STORE_RECONNECTS, STORE_CONNECTIONS, STORE_METRICS } store_metric;
/* [any] */
void store_record(store *self, store_metric metric, double value);

/* Makes the tables of a plug-in with one offset store: once, from skein_plugin_entry. */
const skein_plugin *store_plugin(const store_driver *driver);

/* ---- Requests and pages; store_messages.c ---- */

/* Unpacks and checks; NULL: malformed. */
ProtobufCMessage *store_unpack(store_what what, skein_bytes bytes);
/* Drops all but the last of offsets for the same partition, and sorts by topic and partition. False: no memory. */
bool store_sort_offsets(Skein__Plugin__V1__CommitOffsets *commit);

/* What scan continues behind: "PARTITION TOPIC GROUP". Pointers into the token. */
typedef struct store_place {
  int32_t partition;
  char topic[33];
  const char *group;
} store_place;
bool store_read_token(const char *token, store_place *place);

typedef struct store_row {
  const char *group, *topic, *metadata; /* must live until the page is packed */
  int32_t partition, leader_epoch, member_epoch;
  int64_t offset, committed_ms;
} store_row;

typedef struct store_page {
  store_row *rows; /* one group's rows stand together */
  size_t count, capacity, bytes;
  bool failed;
} store_page;

/* False: the page is full (its bytes), or there is no memory (`failed`). */
bool store_page_add(store_page *page, const store_row *row);
/* Packs into memory that the caller frees; NULL: no memory. `has_more`: a token is given. */
uint8_t *store_page_pack(store_page *page, bool has_more, size_t *length);
void store_page_free(store_page *page);

/* ---- Addresses; store_resolve.c ---- */

typedef struct store_lookup store_lookup;
enum { STORE_MOST_ADDRESSES = 8 };
typedef struct store_addresses {
  char text[STORE_MOST_ADDRESSES][64]; /* numeric */
  size_t count;
} store_addresses;
/* Begins to resolve, in a thread of its own. NULL: no memory, no thread. */
store_lookup *store_lookup_begin(const char *host);
/* 0: done; 1: not yet; 2: failed, `why` (256 bytes) says it. */
int store_lookup_look(store_lookup *lookup, store_addresses *out, char *why);
void store_lookup_end(store_lookup *lookup);

/* ---- When to try again ---- */

/* 50 ms, then twice as long each time, up to 10 s; a random half of it. */
typedef struct store_backoff {
  unsigned failures;
  uint64_t seed;
} store_backoff;
uint64_t store_backoff_next(store_backoff *backoff); /* nanoseconds */

#endif
