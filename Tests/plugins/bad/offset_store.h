/*
 * What the bad offset stores have in common: one that keeps offsets in memory and keeps every promise, of which each
 * file breaks one. A file defines what it does otherwise before it includes this:
 *
 *   PLUGIN_ID, IS_STALE(stored, commit), STORES(index), PAGE_END(count, limit), SAME_GROUP(entry, owner, name),
 *   TAKES_BACK(entry, offset), REMOVES(entry, asked), MALFORMED
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "skein_plugin.h"

SKEIN_PLUGIN_ABI_MARK;

#ifndef IS_STALE
#define IS_STALE(stored, commit) ((commit) < (stored))
#endif
#ifndef STORES
#define STORES(index) 1
#endif
#ifndef PAGE_END
#define PAGE_END(count, limit) ((count) >= (limit))
#endif
#ifndef SAME_GROUP
#define SAME_GROUP(entry, owner, name) (same((entry)->tenant, owner) && same((entry)->group, name))
#endif
#ifndef TAKES_BACK
#define TAKES_BACK(entry, offset) 1
#endif
#ifndef REMOVES
#define REMOVES(entry, asked) SAME_GROUP(entry, (asked)->tenant, (asked)->group)
#endif

#ifndef MALFORMED
#define MALFORMED SKEIN_FAILED
#endif

enum { NAME = 256, OFFSETS = 256, ENTRIES = 20000 };

struct text {
  const uint8_t *ptr;
  size_t len;
};
struct name {
  uint16_t len;
  char bytes[NAME];
};
struct entry {
  struct name tenant, group, topic;
  int64_t offset;
  int32_t partition, epoch;
};
struct store {
  const skein_host *host;
  pthread_mutex_t lock;
  struct entry *entries; /* ordered by tenant, group, topic, partition */
  size_t count, room;
};
struct offset {
  struct text topic;
  int64_t offset;
  int32_t partition, epoch;
};
struct request {
  struct text tenant, group, token;
  int32_t epoch;
  uint32_t limit, count;
  struct offset offsets[OFFSETS];
};

/* ---- Just enough protobuf ---- */

static int varint(struct text *in, uint64_t *out) {
  *out = 0;
  for (int shift = 0; shift < 64 && in->len > 0; shift += 7) {
    uint8_t byte = *in->ptr;
    in->ptr++, in->len--;
    *out |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return 1;
  }
  return 0;
}

/* The next field: its number, and its value as a number or as bytes. 1, or 0 when malformed. */
static int field(struct text *in, uint64_t *number, uint64_t *value, struct text *bytes) {
  uint64_t key;
  bytes->ptr = 0, bytes->len = 0;
  if (!varint(in, &key) || key >> 3 == 0) return 0;
  *number = key >> 3;
  switch (key & 7) {
    case 0: return varint(in, value);
    case 2:
      if (!varint(in, value) || *value > in->len) return 0;
      bytes->ptr = in->ptr, bytes->len = (size_t)*value;
      in->ptr += *value, in->len -= (size_t)*value;
      return 1;
    default: return 0;
  }
}

static int decode_offset(struct text in, struct offset *out) {
  uint64_t number, value;
  struct text bytes;
  memset(out, 0, sizeof *out);
  while (in.len > 0) {
    if (!field(&in, &number, &value, &bytes)) return 0;
    if (number == 1) out->topic = bytes;
    if (number == 2) out->partition = (int32_t)value;
    if (number == 3) out->offset = (int64_t)value;
    if (number == 7) out->epoch = (int32_t)value;
  }
  return out->topic.len < NAME;
}

/* `offsets_field`: 4 of CommitOffsets, 3 of the others; 0 for ScanOffsets, whose fields are others. */
static int decode(skein_bytes request, struct request *out, uint64_t offsets_field) {
  struct text in = {request.ptr, request.len}, bytes;
  uint64_t number, value;
  memset(out, 0, offsetof(struct request, offsets));
  while (in.len > 0) {
    if (!field(&in, &number, &value, &bytes)) return 0;
    if (number == 1) out->tenant = bytes;
    if (offsets_field == 0) {
      if (number == 2) out->token = bytes;
      if (number == 3) out->limit = (uint32_t)value;
      continue;
    }
    if (number == 2) out->group = bytes;
    if (number == 3 && offsets_field == 4) out->epoch = (int32_t)value;
    if (number == offsets_field) {
      if (out->count == OFFSETS || !bytes.ptr || !decode_offset(bytes, &out->offsets[out->count])) return 0;
      out->count++;
    }
  }
  return out->tenant.len < NAME && out->group.len < NAME && (offsets_field == 0 || out->group.len > 0);
}

struct writer {
  uint8_t *bytes;
  size_t len, room;
};

static void put(struct writer *out, const void *bytes, size_t len) {
  if (out->room - out->len < len) {
    size_t room = (out->len + len) * 2;
    uint8_t *more = realloc(out->bytes, room);
    if (!more) return;
    out->bytes = more, out->room = room;
  }
  if (len > 0) memcpy(out->bytes + out->len, bytes, len);
  out->len += len;
}
static void put_varint(struct writer *out, uint64_t value) {
  uint8_t bytes[10];
  size_t len = 0;
  do {
    bytes[len++] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>= 7;
  } while (value > 0);
  put(out, bytes, len);
}
static void put_bytes(struct writer *out, int number, const void *bytes, size_t len) {
  put_varint(out, (uint64_t)number << 3 | 2);
  put_varint(out, len);
  put(out, bytes, len);
}
static void put_number(struct writer *out, int number, uint64_t value) {
  put_varint(out, (uint64_t)number << 3);
  put_varint(out, value);
}

/* ---- Entries ---- */

static inline int same(struct name name, struct text text) {
  return name.len == text.len && (text.len == 0 || memcmp(name.bytes, text.ptr, text.len) == 0);
}
static struct name named(struct text text) {
  struct name name = {(uint16_t)text.len, {0}};
  if (text.len > 0) memcpy(name.bytes, text.ptr, text.len);
  return name;
}
static int order(const struct name *a, const struct name *b) {
  int way = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
  return way ? way : (int)a->len - (int)b->len;
}
static int order_entries(const struct entry *a, const struct entry *b) {
  int way = order(&a->tenant, &b->tenant);
  if (!way) way = order(&a->group, &b->group);
  if (!way) way = order(&a->topic, &b->topic);
  return way ? way : (a->partition > b->partition) - (a->partition < b->partition);
}

static int insert(struct store *store, const struct entry *made) {
  size_t at = 0;
  while (at < store->count && order_entries(&store->entries[at], made) < 0) at++;
  if (at < store->count && order_entries(&store->entries[at], made) == 0) {
    if (TAKES_BACK(&store->entries[at], made->offset)) store->entries[at] = *made;
    return 1;
  }
  if (store->count == ENTRIES) return 0;
  if (store->count == store->room) {
    size_t room = store->room ? store->room * 2 : 64;
    struct entry *more = realloc(store->entries, room * sizeof *more);
    if (!more) return 0;
    store->entries = more, store->room = room;
  }
  memmove(&store->entries[at + 1], &store->entries[at], (store->count - at) * sizeof *store->entries);
  store->entries[at] = *made;
  store->count++;
  return 1;
}

static void put_offset(struct writer *group, const struct entry *entry) {
  struct writer offset = {0};
  put_bytes(&offset, 1, entry->topic.bytes, entry->topic.len);
  put_number(&offset, 2, (uint64_t)(int64_t)entry->partition);
  put_number(&offset, 3, (uint64_t)entry->offset);
  put_number(&offset, 7, (uint64_t)(int64_t)entry->epoch);
  put_bytes(group, 2, offset.bytes, offset.len);
  free(offset.bytes);
}

/* ---- Calls ---- */

static void complete(struct store *self, skein_call call, skein_status status, struct writer *page) {
  const skein_host_async *async = self->host->get(self->host->ctx, SKEIN_HOST_ASYNC);
  skein_bytes result = {page ? page->bytes : 0, page ? page->len : 0};
  if (async && async->size >= 16) async->complete(self->host->ctx, call, status, result);
  if (page) free(page->bytes);
}

static skein_status store_all(struct store *self, const struct request *request) {
  for (size_t at = 0; at < self->count; at++)
    if (SAME_GROUP(&self->entries[at], request->tenant, request->group) &&
        IS_STALE(self->entries[at].epoch, request->epoch))
      return SKEIN_DENIED;
  for (uint32_t index = 0; index < request->count; index++) {
    const struct offset *offset = &request->offsets[index];
    struct entry made = {named(request->tenant), named(request->group), named(offset->topic), offset->offset,
                         offset->partition, request->epoch};
    if (STORES(index) && !insert(self, &made)) return SKEIN_FAILED;
  }
  return SKEIN_OK;
}

static void commit(void *pointer, skein_call call, uint64_t deadline, skein_bytes bytes) {
  struct store *self = pointer;
  struct request *request = malloc(sizeof *request);
  skein_status status = MALFORMED;
  if (request && decode(bytes, request, 4)) {
    pthread_mutex_lock(&self->lock);
    status = store_all(self, request);
    pthread_mutex_unlock(&self->lock);
  }
  free(request);
  complete(self, call, status, 0);
}

static void fetch(void *pointer, skein_call call, uint64_t deadline, skein_bytes bytes) {
  struct store *self = pointer;
  struct request *request = malloc(sizeof *request);
  struct writer page = {0}, group = {0};
  skein_status status = SKEIN_FAILED;
  if (request && decode(bytes, request, 3)) {
    status = SKEIN_OK;
    put_bytes(&group, 1, request->group.ptr, request->group.len);
    pthread_mutex_lock(&self->lock);
    for (size_t at = 0; at < self->count; at++)
      if (SAME_GROUP(&self->entries[at], request->tenant, request->group)) put_offset(&group, &self->entries[at]);
    pthread_mutex_unlock(&self->lock);
    put_bytes(&page, 1, group.bytes, group.len);
  }
  free(group.bytes);
  free(request);
  complete(self, call, status, &page);
}

/* The token is the place in the order, as decimal digits: good enough while nobody commits between two pages. */
static void scan(void *pointer, skein_call call, uint64_t deadline, skein_bytes bytes) {
  struct store *self = pointer;
  struct request *request = malloc(sizeof *request);
  struct writer page = {0};
  skein_status status = SKEIN_FAILED;
  if (request && decode(bytes, request, 0) && request->limit >= 1 && request->limit <= 1000) {
    size_t at = 0;
    uint32_t count = 0;
    status = SKEIN_OK;
    for (size_t digit = 0; digit < request->token.len && digit < 9; digit++)
      at = at * 10 + (size_t)(uint8_t)(request->token.ptr[digit] - '0');
    pthread_mutex_lock(&self->lock);
    for (; at < self->count && !PAGE_END(count, request->limit); at++) {
      struct writer group = {0};
      if (!same(self->entries[at].tenant, request->tenant)) continue;
      put_bytes(&group, 1, self->entries[at].group.bytes, self->entries[at].group.len);
      put_offset(&group, &self->entries[at]);
      put_bytes(&page, 1, group.bytes, group.len);
      free(group.bytes);
      count++;
    }
    if (at < self->count) {
      char token[10];
      size_t digits = 9;
      for (size_t rest = at; digits-- > 0; rest /= 10) token[digits] = (char)('0' + rest % 10);
      put_bytes(&page, 2, token, 9);
    }
    pthread_mutex_unlock(&self->lock);
  }
  free(request);
  complete(self, call, status, &page);
}

static void remove_group(void *pointer, skein_call call, uint64_t deadline, skein_bytes bytes) {
  struct store *self = pointer;
  struct request *request = malloc(sizeof *request);
  skein_status status = SKEIN_FAILED;
  if (request && decode(bytes, request, 3)) {
    size_t kept = 0;
    status = SKEIN_OK;
    pthread_mutex_lock(&self->lock);
    for (size_t at = 0; at < self->count; at++)
      if (!REMOVES(&self->entries[at], request)) self->entries[kept++] = self->entries[at];
    self->count = kept;
    pthread_mutex_unlock(&self->lock);
  }
  free(request);
  complete(self, call, status, 0);
}

static void cancel(void *self, skein_call call) {}

static skein_status create(const skein_host *host, uint64_t instance, skein_bytes config, void **self,
                           skein_bytes *why) {
  static const char sentence[] = "the configuration is not a JSON object; give {}";
  struct store *made;
  if (config.len < 2 || config.ptr[0] != '{' || config.ptr[config.len - 1] != '}') {
    why->ptr = (const uint8_t *)sentence;
    why->len = sizeof sentence - 1;
    return SKEIN_BAD_CONFIG;
  }
  made = calloc(1, sizeof *made);
  if (!made) return SKEIN_RETRY_LATER;
  made->host = host;
  pthread_mutex_init(&made->lock, 0);
  *self = made;
  return SKEIN_OK;
}
static void quiesce(void *self, skein_call done) { complete(self, done, SKEIN_OK, 0); }
static void destroy(void *pointer) {
  struct store *self = pointer;
  pthread_mutex_destroy(&self->lock);
  free(self->entries);
  free(self);
}

static const skein_offset_store table = {sizeof table, 0, {create, quiesce, destroy},
                                         commit, fetch, scan, remove_group, cancel};
static const void *get(const char *kind) { return strcmp(kind, SKEIN_OFFSET_STORE) == 0 ? &table : 0; }
static const skein_plugin plugin = {sizeof plugin, SKEIN_ABI_MINOR, PLUGIN_ID, "1.0.0", get};
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  return host->get(host->ctx, SKEIN_HOST_ASYNC) ? &plugin : 0;
}
