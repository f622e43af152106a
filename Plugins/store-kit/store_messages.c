#include <stdlib.h>
#include <string.h>

#include "store.h"

typedef Skein__Plugin__V1__StoredOffset stored_offset;
typedef Skein__Plugin__V1__GroupOffsets group_offsets;
typedef Skein__Plugin__V1__TopicPartitionName partition_name;

/* ---- Requests ---- */

static bool is_name(const char *name) {
  const size_t length = strlen(name);
  return length >= 1 && length <= STORE_MOST_NAME && store_is_text(name, length);
}

/* 32 hexadecimal digits, lower case: one topic has one spelling. */
static bool is_topic(const char *id) {
  const size_t length = strspn(id, "0123456789abcdef");
  return length == 32 && id[32] == 0;
}

static bool are_partitions(partition_name *const *names, size_t count) {
  if (count > STORE_MOST_OFFSETS) return false;
  for (size_t i = 0; i < count; i++)
    if (!is_topic(names[i]->topic_id) || names[i]->partition < 0) return false;
  return true;
}

static bool is_commit(const Skein__Plugin__V1__CommitOffsets *commit) {
  if (!is_name(commit->tenant) || !is_name(commit->group) || commit->member_epoch < 0) return false;
  if (commit->n_offsets > STORE_MOST_OFFSETS) return false;
  for (size_t i = 0; i < commit->n_offsets; i++) {
    const stored_offset *offset = commit->offsets[i];
    const size_t length = strlen(offset->metadata);
    if (!is_topic(offset->topic_id) || offset->partition < 0 || offset->offset < 0 || offset->member_epoch < 0 ||
        length > STORE_MOST_METADATA || (length > 0 && !store_is_text(offset->metadata, length)))
      return false;
  }
  return true;
}

static bool is_good(store_what what, const ProtobufCMessage *message) {
  store_place place;
  switch (what) {
    case STORE_COMMIT: return is_commit((const void *)message);
    case STORE_FETCH: {
      const Skein__Plugin__V1__FetchOffsets *fetch = (const void *)message;
      return is_name(fetch->tenant) && is_name(fetch->group) && are_partitions(fetch->partitions, fetch->n_partitions) &&
             (fetch->token[0] == 0 || (store_read_token(fetch->token, &place) && strcmp(place.group, fetch->group) == 0));
    }
    case STORE_SCAN: {
      const Skein__Plugin__V1__ScanOffsets *scan = (const void *)message;
      return is_name(scan->tenant) && (scan->token[0] == 0 || store_read_token(scan->token, &place));
    }
    case STORE_REMOVE: {
      const Skein__Plugin__V1__RemoveOffsets *remove = (const void *)message;
      return is_name(remove->tenant) && is_name(remove->group) && are_partitions(remove->partitions, remove->n_partitions);
    }
  }
  return false;
}

ProtobufCMessage *store_unpack(store_what what, skein_bytes bytes) {
  static const ProtobufCMessageDescriptor *const kinds[] = {
      &skein__plugin__v1__commit_offsets__descriptor, &skein__plugin__v1__fetch_offsets__descriptor,
      &skein__plugin__v1__scan_offsets__descriptor, &skein__plugin__v1__remove_offsets__descriptor};
  ProtobufCMessage *message = protobuf_c_message_unpack(kinds[what], NULL, bytes.len, bytes.ptr);
  if (message == NULL) return NULL;
  /* A text with a NUL byte in it ends there for C, so that "billing\0x" were "billing": what is written again is then
   * shorter. (So it is when a field stands with its default, which our encoders leave out.) */
  const bool is_whole = protobuf_c_message_get_packed_size(message) >= bytes.len || memchr(bytes.ptr, 0, bytes.len) == NULL;
  if (is_whole && is_good(what, message)) return message;
  protobuf_c_message_free_unpacked(message, NULL);
  return NULL;
}

typedef struct sorted {
  stored_offset *offset;
  size_t place;
} sorted;

static int by_partition(const stored_offset *a, const stored_offset *b) {
  const int order = strcmp(a->topic_id, b->topic_id);
  return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static int by_place(const void *a, const void *b) {
  const sorted *x = a, *y = b;
  const int order = by_partition(x->offset, y->offset);
  return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

bool store_sort_offsets(Skein__Plugin__V1__CommitOffsets *commit) {
  const size_t count = commit->n_offsets;
  if (count < 2) return true;
  sorted *all = calloc(count, sizeof *all);
  if (all == NULL) return false;
  for (size_t i = 0; i < count; i++) all[i] = (sorted){commit->offsets[i], i};
  qsort(all, count, sizeof *all, by_place);
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (i + 1 < count && by_partition(all[i].offset, all[i + 1].offset) == 0)
      skein__plugin__v1__stored_offset__free_unpacked(all[i].offset, NULL);
    else commit->offsets[kept++] = all[i].offset;
  }
  commit->n_offsets = kept;
  free(all);
  return true;
}

bool store_read_token(const char *token, store_place *place) {
  const char *space = strchr(token, ' ');
  int64_t partition;
  if (space == NULL || !store_number(token, (size_t)(space - token), &partition)) return false;
  if (partition < 0 || partition > INT32_MAX || strspn(space + 1, "0123456789abcdef") != 32 || space[33] != ' ') return false;
  place->partition = (int32_t)partition;
  memcpy(place->topic, space + 1, 32);
  place->topic[32] = 0;
  place->group = space + 34;
  return is_name(place->group);
}

/* ---- Pages ---- */

/* What everything around the texts of a row takes at most, tags and lengths included. */
enum { ROW_BYTES = 96, PAGE_BYTES = STORE_MOST_RESULT - 4096 };

bool store_page_add(store_page *page, const store_row *row) {
  const size_t bytes = ROW_BYTES + strlen(row->group) + strlen(row->topic) + strlen(row->metadata);
  if (bytes > PAGE_BYTES - page->bytes) return false;
  if (page->count == page->capacity) {
    const size_t capacity = page->capacity == 0 ? 64 : page->capacity * 2;
    store_row *rows = realloc(page->rows, capacity * sizeof *rows);
    if (rows == NULL) {
      page->failed = true;
      return false;
    }
    page->rows = rows;
    page->capacity = capacity;
  }
  page->rows[page->count++] = *row;
  page->bytes += bytes;
  return true;
}

static uint8_t *pack(const store_page *page, group_offsets *groups, group_offsets **group_list, stored_offset *offsets,
                     stored_offset **offset_list, char *token, size_t *length) {
  Skein__Plugin__V1__OffsetPage answer = SKEIN__PLUGIN__V1__OFFSET_PAGE__INIT;
  answer.groups = group_list;
  answer.token = token;
  for (size_t i = 0; i < page->count; i++) {
    const store_row *row = &page->rows[i];
    if (i == 0 || strcmp(row->group, page->rows[i - 1].group) != 0) {
      group_offsets *group = group_list[answer.n_groups] = &groups[answer.n_groups];
      skein__plugin__v1__group_offsets__init(group);
      group->group = (char *)(uintptr_t)row->group;
      group->offsets = &offset_list[i];
      answer.n_groups++;
    }
    stored_offset *offset = offset_list[i] = &offsets[i];
    skein__plugin__v1__stored_offset__init(offset);
    offset->topic_id = (char *)(uintptr_t)row->topic;
    offset->metadata = (char *)(uintptr_t)row->metadata;
    offset->partition = row->partition;
    offset->offset = row->offset;
    offset->leader_epoch = row->leader_epoch;
    offset->committed_ms = row->committed_ms;
    offset->member_epoch = row->member_epoch;
    groups[answer.n_groups - 1].n_offsets++;
  }
  *length = skein__plugin__v1__offset_page__get_packed_size(&answer);
  uint8_t *packed = malloc(*length + 1);
  if (packed != NULL) skein__plugin__v1__offset_page__pack(&answer, packed);
  return packed;
}

uint8_t *store_page_pack(store_page *page, bool has_more, size_t *length) {
  const size_t count = page->count + 1;
  group_offsets *groups = calloc(count, sizeof *groups), **group_list = calloc(count, sizeof *group_list);
  stored_offset *offsets = calloc(count, sizeof *offsets), **offset_list = calloc(count, sizeof *offset_list);
  store_text token = {0};
  store_text_put(&token, "");
  if (has_more && page->count > 0) {
    const store_row *last = &page->rows[page->count - 1];
    store_text_format(&token, "%d %s %s", (int)last->partition, last->topic, last->group);
  }
  uint8_t *packed = NULL;
  if (groups != NULL && group_list != NULL && offsets != NULL && offset_list != NULL && !token.failed)
    packed = pack(page, groups, group_list, offsets, offset_list, token.bytes, length);
  free(groups);
  free(group_list);
  free(offsets);
  free(offset_list);
  store_text_free(&token);
  return packed;
}

void store_page_free(store_page *page) {
  free(page->rows);
  *page = (store_page){0};
}
