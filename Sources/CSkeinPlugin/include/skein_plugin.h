/*
 * skein_plugin.h: the whole contract between Skein and a plug-in. Pure C11, also C++ and Swift.
 *
 * A plug-in is one shared object (.so) that exports one symbol, `skein_plugin_entry`. The host asks it for the
 * tables of the kinds that it implements ("skein.partitioner/1"); the plug-in asks the host for the services
 * that it uses ("skein.host.log/1"). Ids carry the major version: a breaking change is a new id. Tables only
 * grow at their end; field 0 of every table is its size in bytes as its maker knows it, so that each side
 * reads no more than the other has. A missing function at the end counts as absent.
 *
 * THREADS. Each function says who may call it:
 *   [control]  one call at a time per instance; may block for up to 5 s.
 *   [any]      from any thread, several at once. Must not block, must not wait for a contended lock, and may
 *              call no host function but log and metrics (async: `complete` too).
 * Host functions may be called from any thread, also after `destroy` (they then do nothing).
 *
 * MEMORY. Each side frees what it allocated, and nothing else. What is passed in is borrowed until the
 * function returns. Results go into buffers of the caller (`out`) or are copied (`complete`).
 * Text is UTF-8, pointer and length, without a NUL at its end, unless it is a `const char *`.
 *
 * NEVER: fork, exit, signal handlers, setenv, chdir, atexit, longjmp or exceptions across this line.
 * A plug-in is never unloaded.
 */
#ifndef SKEIN_PLUGIN_H
#define SKEIN_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Put before the definition of skein_plugin_entry; compile everything else with -fvisibility=hidden. */
#define SKEIN_ENTRY __attribute__((visibility("default")))

/* The minor version of this header: rises when a table grows. */
#define SKEIN_ABI_MINOR 0u

/* Whether a table of the other side (of type `type`; may be NULL) is long enough to have `field`, and has it. Ask before
 * each function of a host table: SKEIN_HAS(skein_host_config, config, lookup). */
#define SKEIN_HAS(type, table, field) \
  ((table) != NULL && (table)->size >= offsetof(type, field) + sizeof((table)->field) && (table)->field != NULL)

/* Bytes that belong to the caller, valid until the function returns. `ptr` may be NULL only where a field
 * says that NULL has a meaning, or where `len` is 0. */
typedef struct skein_bytes {
  const uint8_t *ptr;
  size_t len; /* bytes */
} skein_bytes;

/* Names one open asynchronous call. A counter of the host, never a pointer, never used twice, never 0. */
typedef uint64_t skein_call;

/* How something ended. Other values count as SKEIN_FAILED, and as a fault of the plug-in. */
typedef int32_t skein_status;
#define SKEIN_OK 0          /* done */
#define SKEIN_FAILED 1      /* not done, and trying again will not help */
#define SKEIN_CANCELLED 2   /* given up because the host asked for it or the deadline passed */
#define SKEIN_RETRY_LATER 3 /* not done now; nothing was changed */
#define SKEIN_DENIED 4      /* authenticator: not this client. Offset store: refused by a fence */
#define SKEIN_BAD_CONFIG 5  /* create: the configuration is of no use; `why` says what and the cure */
#define SKEIN_UNSUPPORTED 6 /* the plug-in does not do this */

/* ---- What the host offers ------------------------------------------------------------------------------ */

/* The host, given to `skein_plugin_entry` and to `create`. Valid until the process ends. */
typedef struct skein_host {
  uint32_t size;
  uint32_t abi_minor; /* the host's SKEIN_ABI_MINOR */
  void *ctx;          /* first argument of every host function */
  /* [any] The table of a service, or NULL if this host does not have it. The same answer for ever. */
  const void *(*get)(void *ctx, const char *id);
} skein_host;

#define SKEIN_HOST_LOG "skein.host.log/1"
#define SKEIN_LOG_DEBUG 0
#define SKEIN_LOG_INFO 1
#define SKEIN_LOG_WARNING 2
#define SKEIN_LOG_ERROR 3
typedef struct skein_host_log {
  uint32_t size;
  uint32_t _pad;
  /* [any] A line for the broker's log. Wait-free; more than 100 lines a second per plug-in are dropped and
   * counted; cut after 4096 bytes. `instance`: 0 before `create`. Never write a secret. */
  void (*write)(void *ctx, uint64_t instance, int32_t level, skein_bytes message);
} skein_host_log;

#define SKEIN_HOST_CONFIG "skein.host.config/1"
typedef struct skein_host_config {
  uint32_t size;
  uint32_t _pad;
  /* [control] The value of one member of the instance's configuration: a string as its bytes, anything else
   * as JSON text. `key` may be a path: "pool.size". `*out` lives until `destroy`. A member whose value is
   * {"secret_file": "PATH"} gives the bytes of that file, which never stand in the configuration itself.
   * Returns 0, or 1 if there is no such member. */
  int32_t (*lookup)(void *ctx, uint64_t instance, skein_bytes key, skein_bytes *out);
} skein_host_config;

#define SKEIN_HOST_METRICS "skein.host.metrics/1"
#define SKEIN_METRIC_COUNTER 0   /* record adds a value >= 0 */
#define SKEIN_METRIC_GAUGE 1     /* record sets the value */
#define SKEIN_METRIC_HISTOGRAM 2 /* record takes one observation */
typedef struct skein_host_metrics {
  uint32_t size;
  uint32_t _pad;
  /* [control] A series named skein_plugin_<name>, labelled by the host with the plug-in's id and version. At
   * most 32 per instance. `name`: [a-z0-9_]{1,64}; `unit`: "seconds", "bytes" or "". Returns 0 if refused. */
  uint64_t (*define)(void *ctx, uint64_t instance, int32_t kind, skein_bytes name, skein_bytes unit);
  /* [any] Wait-free; `metric` 0 is ignored. */
  void (*record)(void *ctx, uint64_t metric, double value);
} skein_host_metrics;

#define SKEIN_HOST_ASYNC "skein.host.async/1"
typedef struct skein_host_async {
  uint32_t size;
  uint32_t _pad;
  /* [any] Ends an asynchronous call: exactly once per `call`, from any thread, also before the function that
   * was given the call returns. Copies `result`, at most 1 MiB. Returns 0; 1 if the call was over already
   * (late, or completed twice: ignored, and counted). */
  int32_t (*complete)(void *ctx, skein_call call, skein_status status, skein_bytes result);
  /* [any] 1 if nobody waits for this call any more. */
  int32_t (*is_cancelled)(void *ctx, skein_call call);
} skein_host_async;

/* ---- What every kind has ------------------------------------------------------------------------------- */

typedef struct skein_instance_ops {
  /* [control] Makes an instance. `instance` names it to the host. `config_json`: one JSON object that fits the
   * manifest's config_schema; "{}" if nothing was configured. On success sets `*self` (may be NULL) and returns
   * SKEIN_OK; else `*why` may point to text, which the host copies before it calls the plug-in again. Instances
   * share no state. */
  skein_status (*create)(const skein_host *host, uint64_t instance, skein_bytes config_json, void **self,
                         skein_bytes *why);
  /* [control] No new calls come from now on. Call `complete(done, SKEIN_OK, {0})` once none is open. NULL: a
   * kind without asynchronous calls. */
  void (*quiesce)(void *self, skein_call done);
  /* [control] The last call on `self`. */
  void (*destroy)(void *self);
} skein_instance_ops;

/* ---- Partitioner: which partition a record goes to ------------------------------------------------------ */

#define SKEIN_PARTITIONER "skein.partitioner/1"
/* The answer depends on topic view, key, headers and configuration alone: not on time, order or a counter. The
 * host may then remember answers, and the kit checks it. */
#define SKEIN_PARTITIONER_PURE 1u
/* "You choose": the host spreads such records round robin per batch. */
#define SKEIN_ANY_PARTITION (-1)

/* The topic as it is for this batch. */
typedef struct skein_topic {
  uint32_t size;
  int32_t partitions;      /* 1 to 10,000; answers are 0 to partitions - 1 */
  const uint32_t *weights; /* `partitions` numbers, or NULL: all equal */
  uint8_t id[16];
} skein_topic;

/* Records of one batch, column by column. */
typedef struct skein_records {
  uint32_t size;
  uint32_t count;             /* 1 to 100,000 */
  const skein_bytes *keys;    /* `count`; ptr NULL: the record has no key (an empty key has ptr, and len 0) */
  const int64_t *timestamps;  /* `count`, milliseconds since 1970 UTC; NULL unless the manifest asks for them */
  uint32_t header_names;      /* of the manifest's `headers`: how many, 0 to 8 */
  uint32_t _pad;
  const skein_bytes *headers; /* `count` rows of `header_names` values, in the manifest's order; ptr NULL: the
                                 record has no such header. The first one of a name counts. */
} skein_records;

typedef struct skein_partitioner {
  uint32_t size;
  uint32_t flags; /* SKEIN_PARTITIONER_PURE */
  skein_instance_ops ops;
  /* [any] Sets `out[i]` for each record to a partition or SKEIN_ANY_PARTITION. It cannot fail: what it cannot
   * place it leaves to the host. Budget: 1 us per record. An answer out of range is a fault of the plug-in. */
  void (*batch)(void *self, const skein_topic *topic, const skein_records *records, int32_t *out);
} skein_partitioner;

/* ---- Offset store: where consumer groups keep their offsets ---------------------------------------------- */

#define SKEIN_OFFSET_STORE "skein.offset-store/1"
/* Requests and results are messages of skein/plugin/v1/offset_store.proto; each names tenant, group, member
 * epoch and expected offset, so that a stale commit is refused with SKEIN_DENIED.
 * Every function returns at once and ends by `complete`, at the latest at `deadline_ns` (CLOCK_MONOTONIC): what
 * comes later is ignored. At most 1,024 calls are open per instance. */
typedef struct skein_offset_store {
  uint32_t size;
  uint32_t flags; /* 0 */
  skein_instance_ops ops;
  void (*commit)(void *self, skein_call call, uint64_t deadline_ns, skein_bytes request); /* [any] CommitOffsets */
  void (*fetch)(void *self, skein_call call, uint64_t deadline_ns, skein_bytes request);  /* [any] FetchOffsets */
  void (*scan)(void *self, skein_call call, uint64_t deadline_ns, skein_bytes request);   /* [any] ScanOffsets */
  void (*remove)(void *self, skein_call call, uint64_t deadline_ns, skein_bytes request); /* [any] RemoveOffsets */
  /* [any] Nobody waits for `call` any more; complete it soon, with SKEIN_CANCELLED or as it went. */
  void (*cancel)(void *self, skein_call call);
} skein_offset_store;

/* ---- Authenticator: who calls ------------------------------------------------------------------------------ */

#define SKEIN_AUTHENTICATOR "skein.authenticator/1"
/* What is known of the client before it says a word. */
typedef struct skein_peer {
  uint32_t size;
  uint32_t certificates;          /* how many in `chain` */
  const skein_bytes *chain;       /* DER, the client's first; none: it showed none */
  skein_bytes server_name;        /* SNI; len 0: none */
  skein_bytes address;            /* "127.0.0.1:50122" */
  skein_bytes tls_exporter;       /* 32 bytes that both ends of this TLS connection know, and nobody else */
} skein_peer;

/* Results are messages of skein/plugin/v1/authenticator.proto. Rules for calls as for the offset store. Whatever
 * goes wrong (status but SKEIN_OK, no answer in time, a crash) is a refusal: fail closed. */
typedef struct skein_authenticator {
  uint32_t size;
  uint32_t flags; /* 0 */
  skein_instance_ops ops;
  /* [any] One step of an exchange. `exchange` names it from its first step to `end`, `mechanism` is "bearer",
   * "scram-sha-256" …, `message` what the client sent. Completes with an AuthenticateResult: the principal,
   * or a challenge that the client must answer; or with SKEIN_DENIED. */
  void (*step)(void *self, skein_call call, uint64_t deadline_ns, uint64_t exchange, skein_bytes mechanism,
               const skein_peer *peer, skein_bytes message);
  /* [any] The exchange is over; forget it. */
  void (*end)(void *self, uint64_t exchange);
  void (*cancel)(void *self, skein_call call); /* [any] as for the offset store */
} skein_authenticator;

/* ---- The plug-in ------------------------------------------------------------------------------------------- */

typedef struct skein_plugin {
  uint32_t size;
  uint32_t abi_minor;  /* SKEIN_ABI_MINOR of the header that it was compiled with */
  const char *id;      /* as in the manifest: "com.acme.sticky" */
  const char *version; /* as in the manifest: "1.2.0" */
  /* [any] The table of a kind, or NULL. The same answer for ever; the table lives until the process ends. */
  const void *(*get)(const char *kind_id);
} skein_plugin;

/* The only exported symbol. [control] Called once per loaded file. NULL: this host is of no use to it. */
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host);

/* Put once into a C or C++ plug-in, outside any function: marks the file with the ABI it was built for, where the
 * host reads it without running anything (ELF section .skein.abi: "SKN1", major, minor, bits of a pointer).
 * A linker that drops unused sections leaves it in. */
#ifdef __has_attribute
#if __has_attribute(retain)
#define SKEIN_RETAIN , retain
#endif
#endif
#ifndef SKEIN_RETAIN
#define SKEIN_RETAIN
#endif
#define SKEIN_PLUGIN_ABI_MARK \
  __attribute__((section(".skein.abi"), used SKEIN_RETAIN)) static const uint32_t skein_abi_mark[4] = { \
      0x314e4b53u, 1u, SKEIN_ABI_MINOR, (uint32_t)(8u * sizeof(void *))}

#ifdef __cplusplus
}
#endif
#endif
