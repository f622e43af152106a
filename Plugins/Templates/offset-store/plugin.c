/* {{ID}}: keeps offsets in memory. Put your database in its place.
 *
 * Every call is answered before it returns, under a lock that is held for microseconds and for no I/O. A store that
 * asks a database must return at once and complete from a thread of its own. */
#include "skein_plugin.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skein/plugin/v1/offset_store.pb-c.h"

SKEIN_PLUGIN_ABI_MARK;

typedef Skein__Plugin__V1__StoredOffset stored_offset;
typedef Skein__Plugin__V1__GroupOffsets group_offsets;
typedef Skein__Plugin__V1__TopicPartitionName partition_name;

enum { MOST_PAGE = 1000, MOST_RESULT = 1 << 20 };

/* One offset of one group; all of it is the row's own. */
typedef struct row {
  char *tenant, *group;
  stored_offset *offset;
} row;

typedef struct instance {
  void *host_ctx;
  const skein_host_async *async;
  atomic_int open;
  _Atomic skein_call quiesced; /* to be completed once `open` is 0; 0: none */
  pthread_mutex_t lock;
  row *rows; /* in the order of tenant, group, topic, partition */
  size_t count, capacity;
} instance;

static void finish_quiesce(instance *self) {
  const skein_call done = atomic_exchange(&self->quiesced, 0);
  if (done != 0) self->async->complete(self->host_ctx, done, SKEIN_OK, (skein_bytes){NULL, 0});
}

/* Completes a call, and the host's quiesce if this was the last open one. */
static void end_call(instance *self, skein_call call, skein_status status, const uint8_t *result, size_t length) {
  self->async->complete(self->host_ctx, call, status, (skein_bytes){result, length});
  if (atomic_fetch_sub(&self->open, 1) == 1) finish_quiesce(self);
}

/* ---- Rows; all with the lock held ---- */

static int compare(const char *tenant, const char *group, const char *topic_id, int32_t partition, const row *b) {
  int order = strcmp(tenant, b->tenant);
  if (order == 0) order = strcmp(group, b->group);
  if (order == 0) order = strcmp(topic_id, b->offset->topic_id);
  return order != 0 ? order : (partition > b->offset->partition) - (partition < b->offset->partition);
}

/* The first row that is not before the place; `*found`: whether it is at the place. */
static size_t find(const instance *self, const char *tenant, const char *group, const char *topic_id,
                   int32_t partition, int *found) {
  size_t low = 0, high = self->count;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (compare(tenant, group, topic_id, partition, &self->rows[middle]) > 0) low = middle + 1;
    else high = middle;
  }
  *found = low < self->count && compare(tenant, group, topic_id, partition, &self->rows[low]) == 0;
  return low;
}

static void free_row(row *r) {
  free(r->tenant);
  free(r->group);
  if (r->offset != NULL) skein__plugin__v1__stored_offset__free_unpacked(r->offset, NULL);
}

static int has_room(instance *self, size_t more) {
  if (self->capacity - self->count >= more) return 1;
  row *rows = realloc(self->rows, (self->count + more) * 2 * sizeof *rows);
  if (rows == NULL) return 0;
  self->rows = rows;
  self->capacity = (self->count + more) * 2;
  return 1;
}

static char *copy(const char *text) {
  const size_t size = strlen(text) + 1;
  char *made = malloc(size);
  return made == NULL ? NULL : memcpy(made, text, size);
}

/* Whether `names` has the offset's partition, or is empty: all of them. */
static int is_wanted(const stored_offset *offset, partition_name *const *names, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (offset->partition == names[i]->partition && strcmp(offset->topic_id, names[i]->topic_id) == 0) return 1;
  return count == 0;
}

/* Packs rows that stand one after the other in their order. NULL: no memory. */
static uint8_t *pack(const row *const *rows, size_t count, char *token, size_t *length) {
  Skein__Plugin__V1__OffsetPage page = SKEIN__PLUGIN__V1__OFFSET_PAGE__INIT;
  group_offsets *groups = calloc(count + 1, sizeof *groups), **group_list = calloc(count + 1, sizeof *group_list);
  stored_offset **offsets = calloc(count + 1, sizeof *offsets);
  uint8_t *packed = NULL;
  if (groups != NULL && group_list != NULL && offsets != NULL) {
    page.groups = group_list;
    page.token = token;
    for (size_t i = 0; i < count; i++) {
      if (i == 0 || strcmp(rows[i]->group, rows[i - 1]->group) != 0) {
        group_offsets *group = group_list[page.n_groups] = &groups[page.n_groups];
        page.n_groups++;
        skein__plugin__v1__group_offsets__init(group);
        group->group = rows[i]->group;
        group->offsets = &offsets[i];
      }
      offsets[i] = rows[i]->offset;
      groups[page.n_groups - 1].n_offsets++;
    }
    *length = skein__plugin__v1__offset_page__get_packed_size(&page);
    packed = malloc(*length + 1);
    if (packed != NULL) skein__plugin__v1__offset_page__pack(&page, packed);
  }
  free(groups);
  free(group_list);
  free(offsets);
  return packed;
}

static void answer_page(instance *self, skein_call call, uint8_t *packed, size_t length) {
  if (packed == NULL) end_call(self, call, SKEIN_RETRY_LATER, NULL, 0);
  else if (length > MOST_RESULT) end_call(self, call, SKEIN_FAILED, NULL, 0);
  else end_call(self, call, SKEIN_OK, packed, length);
  free(packed);
}

/* ---- Calls ---- */

/* All of it or nothing: whatever may fail is done before the first row changes. */
static skein_status store_all(instance *self, Skein__Plugin__V1__CommitOffsets *request) {
  const size_t count = request->n_offsets;
  int found;
  for (size_t i = 0; i < count; i++) {
    const stored_offset *offset = request->offsets[i];
    const size_t at = find(self, request->tenant, request->group, offset->topic_id, offset->partition, &found);
    if (!found || request->member_epoch == 0) continue; /* 0: of nobody, taken whatever is stored */
    const stored_offset *had = self->rows[at].offset;
    if (had->member_epoch > request->member_epoch) return SKEIN_DENIED; /* a newer member has it */
    if (had->member_epoch == request->member_epoch && had->offset > offset->offset) return SKEIN_DENIED;
  }
  row *made = calloc(count + 1, sizeof *made);
  int ok = made != NULL && has_room(self, count);
  for (size_t i = 0; ok && i < count; i++) {
    made[i] = (row){copy(request->tenant), copy(request->group), NULL};
    ok = made[i].tenant != NULL && made[i].group != NULL;
  }
  for (size_t i = 0; made != NULL && i < count; i++) {
    if (!ok) {
      free_row(&made[i]);
      continue;
    }
    made[i].offset = request->offsets[i]; /* the row's from now on */
    request->offsets[i] = NULL;
    made[i].offset->member_epoch = request->member_epoch;
    const size_t at =
        find(self, made[i].tenant, made[i].group, made[i].offset->topic_id, made[i].offset->partition, &found);
    if (found) {
      free_row(&self->rows[at]);
    } else {
      memmove(&self->rows[at + 1], &self->rows[at], (self->count - at) * sizeof *self->rows);
      self->count++;
    }
    self->rows[at] = made[i];
  }
  free(made);
  return ok ? SKEIN_OK : SKEIN_RETRY_LATER;
}

/* [any] */
static void commit(void *raw, skein_call call, uint64_t deadline_ns, skein_bytes bytes) {
  instance *self = raw;
  (void)deadline_ns;
  atomic_fetch_add(&self->open, 1);
  skein_status status = SKEIN_FAILED;
  Skein__Plugin__V1__CommitOffsets *request = skein__plugin__v1__commit_offsets__unpack(NULL, bytes.len, bytes.ptr);
  if (request != NULL) {
    pthread_mutex_lock(&self->lock);
    status = store_all(self, request);
    pthread_mutex_unlock(&self->lock);
    skein__plugin__v1__commit_offsets__free_unpacked(request, NULL);
  }
  end_call(self, call, status, NULL, 0);
}

/* A page's token names the last row that it had: "PARTITION TOPIC GROUP". It is read in place; 0: it is none of ours. */
static int read_token(char *token, int32_t *partition, char **topic_id, char **group) {
  *partition = INT32_MIN;
  if (token[0] == 0) return 1;
  char *rest;
  *partition = (int32_t)strtol(token, &rest, 10);
  if (rest[0] != ' ') return 0;
  *topic_id = rest + 1;
  *group = strchr(rest + 1, ' ');
  if (*group == NULL) return 0;
  *(*group)++ = 0;
  return 1;
}

/* Packs at most `limit` rows (0: any number) from `at` on, of the tenant, and of the group if that is not NULL; with a
 * token if there are more. NULL: no memory. With the lock held. */
static uint8_t *pack_page(instance *self, size_t at, const char *tenant, const char *group, size_t limit, size_t *length) {
  size_t count = 0;
  while (at + count < self->count && (limit == 0 || count < limit) && strcmp(self->rows[at + count].tenant, tenant) == 0 &&
         (group == NULL || strcmp(self->rows[at + count].group, group) == 0))
    count++;
  const size_t end = at + count;
  const row **rows = calloc(count + 1, sizeof *rows);
  if (rows == NULL) return NULL;
  for (size_t i = 0; i < count; i++) rows[i] = &self->rows[at + i];
  char *token = NULL;
  uint8_t *packed = NULL;
  int ok = 1;
  if (count > 0 && end < self->count && strcmp(self->rows[end].tenant, tenant) == 0 &&
      (group == NULL || strcmp(self->rows[end].group, group) == 0)) {
    const row *last = rows[count - 1];
    const size_t size = strlen(last->offset->topic_id) + strlen(last->group) + 16;
    token = malloc(size);
    ok = token != NULL;
    if (ok) snprintf(token, size, "%d %s %s", (int)last->offset->partition, last->offset->topic_id, last->group);
  }
  if (ok) packed = pack(rows, count, token != NULL ? token : "", length);
  free(token);
  free(rows);
  return packed;
}

/* [any] */
static void fetch(void *raw, skein_call call, uint64_t deadline_ns, skein_bytes bytes) {
  instance *self = raw;
  (void)deadline_ns;
  atomic_fetch_add(&self->open, 1);
  Skein__Plugin__V1__FetchOffsets *request = skein__plugin__v1__fetch_offsets__unpack(NULL, bytes.len, bytes.ptr);
  char *topic_id = "", *group = "";
  int32_t partition = INT32_MIN;
  if (request == NULL || !read_token(request->token, &partition, &topic_id, &group)) {
    if (request != NULL) skein__plugin__v1__fetch_offsets__free_unpacked(request, NULL);
    end_call(self, call, SKEIN_FAILED, NULL, 0);
    return;
  }
  uint8_t *packed = NULL;
  size_t count = 0, length = 0;
  int found;
  pthread_mutex_lock(&self->lock);
  size_t at = find(self, request->tenant, request->group, topic_id, partition, &found);
  if (request->n_partitions == 0) {
    packed = pack_page(self, found ? at + 1 : at, request->tenant, request->group, request->limit, &length);
  } else {
    const row **rows = calloc(self->count + 1, sizeof *rows);
    for (; rows != NULL && at < self->count; at++) {
      const row *r = &self->rows[at];
      if (strcmp(r->tenant, request->tenant) != 0 || strcmp(r->group, request->group) != 0) break;
      if (is_wanted(r->offset, request->partitions, request->n_partitions)) rows[count++] = r;
    }
    if (rows != NULL) packed = pack(rows, count, "", &length);
    free(rows);
  }
  pthread_mutex_unlock(&self->lock);
  skein__plugin__v1__fetch_offsets__free_unpacked(request, NULL);
  answer_page(self, call, packed, length);
}

/* [any] */
static void scan(void *raw, skein_call call, uint64_t deadline_ns, skein_bytes bytes) {
  instance *self = raw;
  (void)deadline_ns;
  atomic_fetch_add(&self->open, 1);
  Skein__Plugin__V1__ScanOffsets *request = skein__plugin__v1__scan_offsets__unpack(NULL, bytes.len, bytes.ptr);
  char *topic_id = "", *group = "";
  int32_t partition = INT32_MIN;
  if (request == NULL || !read_token(request->token, &partition, &topic_id, &group)) {
    if (request != NULL) skein__plugin__v1__scan_offsets__free_unpacked(request, NULL);
    end_call(self, call, SKEIN_FAILED, NULL, 0);
    return;
  }
  const size_t limit = request->limit < 1 ? 1 : request->limit > MOST_PAGE ? MOST_PAGE : request->limit;
  size_t length = 0;
  int found;
  pthread_mutex_lock(&self->lock);
  const size_t at = find(self, request->tenant, group, topic_id, partition, &found);
  uint8_t *packed = pack_page(self, found ? at + 1 : at, request->tenant, NULL, limit, &length);
  pthread_mutex_unlock(&self->lock);
  skein__plugin__v1__scan_offsets__free_unpacked(request, NULL);
  answer_page(self, call, packed, length);
}

/* [any] */
static void remove_offsets(void *raw, skein_call call, uint64_t deadline_ns, skein_bytes bytes) {
  instance *self = raw;
  (void)deadline_ns;
  atomic_fetch_add(&self->open, 1);
  Skein__Plugin__V1__RemoveOffsets *request = skein__plugin__v1__remove_offsets__unpack(NULL, bytes.len, bytes.ptr);
  if (request == NULL) {
    end_call(self, call, SKEIN_FAILED, NULL, 0);
    return;
  }
  size_t kept = 0;
  pthread_mutex_lock(&self->lock);
  for (size_t i = 0; i < self->count; i++) {
    row *r = &self->rows[i];
    if (strcmp(r->tenant, request->tenant) == 0 && strcmp(r->group, request->group) == 0 &&
        is_wanted(r->offset, request->partitions, request->n_partitions))
      free_row(r);
    else self->rows[kept++] = *r;
  }
  self->count = kept;
  pthread_mutex_unlock(&self->lock);
  skein__plugin__v1__remove_offsets__free_unpacked(request, NULL);
  end_call(self, call, SKEIN_OK, NULL, 0);
}

static void cancel(void *self, skein_call call) { (void)self, (void)call; /* it is about to be answered */ }

static void quiesce(void *raw, skein_call done) {
  instance *self = raw;
  atomic_store(&self->quiesced, done);
  if (atomic_load(&self->open) == 0) finish_quiesce(self);
}

static skein_status refuse(skein_bytes *why, const char *text, skein_status status) {
  *why = (skein_bytes){(const uint8_t *)text, strlen(text)};
  return status;
}

static skein_status create(const skein_host *host, uint64_t instance_id, skein_bytes config_json, void **out,
                           skein_bytes *why) {
  (void)instance_id, (void)config_json;
  const skein_host_async *async = SKEIN_HAS(skein_host, host, get) ? host->get(host->ctx, SKEIN_HOST_ASYNC) : NULL;
  if (!SKEIN_HAS(skein_host_async, async, complete)) return refuse(why, "the host lacks skein.host.async/1", SKEIN_UNSUPPORTED);
  instance *self = calloc(1, sizeof *self);
  if (self == NULL) return refuse(why, "no memory", SKEIN_RETRY_LATER);
  pthread_mutex_init(&self->lock, NULL);
  self->host_ctx = host->ctx;
  self->async = async;
  *out = self;
  return SKEIN_OK;
}

static void destroy(void *raw) {
  instance *self = raw;
  for (size_t i = 0; i < self->count; i++) free_row(&self->rows[i]);
  free(self->rows);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static const skein_offset_store store = {
    .size = sizeof(skein_offset_store),
    .ops = {.create = create, .quiesce = quiesce, .destroy = destroy},
    .commit = commit,
    .fetch = fetch,
    .scan = scan,
    .remove = remove_offsets,
    .cancel = cancel,
};

static const void *get(const char *kind_id) { return strcmp(kind_id, SKEIN_OFFSET_STORE) == 0 ? &store : NULL; }

static const skein_plugin plugin = {
    .size = sizeof(skein_plugin),
    .abi_minor = SKEIN_ABI_MINOR,
    .id = "{{ID}}",
    .version = "1.0.0",
    .get = get,
};

SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return &plugin;
}
