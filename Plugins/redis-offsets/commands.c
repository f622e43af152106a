/* Commands of calls, and what their answers mean.
 *
 * Keys, all of a tenant in one slot:
 *   PREFIX:{TENANT}:groups     the names of groups, sorted (a sorted set, all scores 0)
 *   PREFIX:{TENANT}:o:GROUP    a hash: "TOPIC:PARTITION" (ten digits) -> "EPOCH OFFSET LEADER_EPOCH MS METADATA" */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"

#include "scripts.h"

static const char *const texts[RD_SCRIPTS] = {(const char *)script_commit, (const char *)script_page, (const char *)script_remove, (const char *)script_forget};

enum { MOST_FIELD = 48 };

/* ---- Writing commands ---- */

static void put_word(store_text *out, const char *bytes, size_t length) {
  store_text_format(out, "$%zu\r\n", length);
  store_text_add(out, bytes, length);
  store_text_add(out, "\r\n", 2);
}

static void put(store_text *out, const char *word) { put_word(out, word, strlen(word)); }

void rd_put_words(store_text *out, const char *const *words) {
  size_t count = 0;
  while (words[count] != NULL) count++;
  store_text_format(out, "*%zu\r\n", count);
  for (size_t i = 0; i < count; i++) put(out, words[i]);
}

static void put_number(store_text *out, long long number) {
  char text[32];
  snprintf(text, sizeof text, "%lld", number);
  put(out, text);
}

static void put_field(store_text *out, const char *topic, int32_t partition) {
  char field[MOST_FIELD];
  snprintf(field, sizeof field, "%.32s:%010d", topic, (int)partition);
  put(out, field);
}

/* EVALSHA or EVAL with the script, the number of keys, and them: 3 words and the keys. */
static void put_script(store_text *out, rd_script script, bool uses_eval, size_t words, const char *const *keys, size_t key_count) {
  store_text_format(out, "*%zu\r\n", words + 3 + key_count);
  if (uses_eval) {
    put(out, "EVAL");
    put(out, texts[script]);
  } else {
    /* Redis names scripts by their SHA-1; it protects nothing. */
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    char hex[41] = "";
    if (EVP_Digest(texts[script], strlen(texts[script]), digest, &length, EVP_sha1(), NULL) == 1 && length == 20)
      for (size_t i = 0; i < 20; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    put(out, "EVALSHA");
    put(out, hex);
  }
  put_number(out, (long long)key_count);
  for (size_t i = 0; i < key_count; i++) put(out, keys[i]);
}

static char *key(const rd_settings *s, const char *tenant, const char *rest, const char *group) {
  store_text text = {0};
  store_text_format(&text, "%s:{%s}:%s", s->prefix, tenant, rest);
  store_text_put(&text, group);
  if (!text.failed) return text.bytes;
  store_text_free(&text);
  return NULL;
}

static void put_commit(store_text *out, bool uses_eval, const char *const *keys, const Skein__Plugin__V1__CommitOffsets *commit) {
  put_script(out, RD_COMMIT_SCRIPT, uses_eval, 2 + 5 * commit->n_offsets, keys, 2);
  put(out, commit->group);
  put_number(out, commit->member_epoch);
  for (size_t i = 0; i < commit->n_offsets; i++) {
    const Skein__Plugin__V1__StoredOffset *offset = commit->offsets[i];
    put_field(out, offset->topic_id, offset->partition);
    put_number(out, offset->offset);
    put_number(out, offset->leader_epoch);
    put_number(out, offset->committed_ms);
    put(out, offset->metadata);
  }
}

/* `group`: that one alone; NULL: all of the tenant. */
static void put_page(store_text *out, bool uses_eval, const char *const *keys, const char *group, const char *token, uint32_t limit) {
  store_place place = {0, "", ""};
  const bool goes_on = token[0] != 0 && store_read_token(token, &place);
  put_script(out, RD_PAGE_SCRIPT, uses_eval, 6, &keys[1], 1);
  put(out, keys[0]);
  put(out, group != NULL ? group : place.group);
  if (goes_on) put_field(out, place.topic, place.partition);
  else put(out, "");
  put_number(out, limit > STORE_MOST_PAGE ? STORE_MOST_PAGE : limit);
  put_number(out, STORE_MOST_RESULT - 8192);
  put(out, group != NULL ? "1" : "0");
}

static void put_keyed(store_text *out, const rd_settings *s, const store_call *call, rd_script script, bool uses_eval, const char *tenant,
                      const char *group) {
  char *hash = key(s, tenant, "o:", group), *index = key(s, tenant, "groups", "");
  if (hash == NULL || index == NULL) {
    out->failed = true;
  } else {
    const char *const keys[] = {hash, index};
    switch (call->what) {
      case STORE_COMMIT: put_commit(out, uses_eval, keys, call->request.commit); break;
      case STORE_FETCH: {
        const Skein__Plugin__V1__FetchOffsets *fetch = call->request.fetch;
        if (fetch->n_partitions == 0) {
          char *start = key(s, tenant, "o:", "");
          const char *const page_keys[] = {start, index};
          if (start == NULL) out->failed = true;
          else put_page(out, uses_eval, page_keys, group, fetch->token, fetch->limit);
          free(start);
          break;
        }
        store_text_format(out, "*%zu\r\n", 2 + fetch->n_partitions);
        put(out, "HMGET");
        put(out, hash);
        for (size_t i = 0; i < fetch->n_partitions; i++) put_field(out, fetch->partitions[i]->topic_id, fetch->partitions[i]->partition);
        break;
      }
      case STORE_SCAN:
        put_page(out, uses_eval, keys, NULL, call->request.scan->token, call->request.scan->limit < 1 ? 1 : call->request.scan->limit);
        break;
      case STORE_REMOVE: {
        const Skein__Plugin__V1__RemoveOffsets *remove = call->request.remove;
        if (script == RD_FORGET_SCRIPT) {
          put_script(out, script, uses_eval, 1, keys, 2);
          put(out, remove->group);
          break;
        }
        put_script(out, RD_REMOVE_SCRIPT, uses_eval, remove->n_partitions, keys, 1);
        for (size_t i = 0; i < remove->n_partitions; i++) put_field(out, remove->partitions[i]->topic_id, remove->partitions[i]->partition);
        break;
      }
    }
  }
  free(hash);
  free(index);
}

void rd_put_call(store_text *out, const rd_settings *s, const store_call *call, rd_script script, bool uses_eval) {
  const char *tenant = "", *group = "";
  switch (call->what) {
    case STORE_COMMIT: tenant = call->request.commit->tenant, group = call->request.commit->group; break;
    case STORE_FETCH: tenant = call->request.fetch->tenant, group = call->request.fetch->group; break;
    case STORE_SCAN: tenant = call->request.scan->tenant; break;
    case STORE_REMOVE: tenant = call->request.remove->tenant, group = call->request.remove->group; break;
  }
  put_keyed(out, s, call, script, uses_eval, tenant, group);
}

void rd_put_index(store_text *out, const rd_settings *s, const store_call *call) {
  char *index = key(s, call->request.commit->tenant, "groups", "");
  if (index != NULL) rd_put_words(out, (const char *const[]){"ZADD", index, "0", call->request.commit->group, NULL});
  else out->failed = true;
  free(index);
}

rd_script rd_script_of(const store_call *call) {
  switch (call->what) {
    case STORE_COMMIT: return RD_COMMIT_SCRIPT;
    case STORE_FETCH: return call->request.fetch->n_partitions == 0 ? RD_PAGE_SCRIPT : RD_SCRIPTS;
    case STORE_SCAN: return RD_PAGE_SCRIPT;
    case STORE_REMOVE: return RD_REMOVE_SCRIPT;
  }
  return RD_SCRIPTS;
}

/* ---- Reading answers ---- */

static bool next_number(const char **at, int64_t *value) {
  const char *space = strchr(*at, ' ');
  if (space == NULL || !store_number(*at, (size_t)(space - *at), value)) return false;
  *at = space + 1;
  return true;
}

/* `topic` gets 33 bytes, and lives as long as the row. */
static bool read_row(const char *group, const rd_reply *field, const rd_reply *value, char *topic, store_row *row) {
  int64_t partition, epoch, offset, leader, time;
  const char *at = value->text;
  if (field->length != 43 || field->text[32] != ':' || !store_number(field->text + 33, 10, &partition)) return false;
  if (!next_number(&at, &epoch) || !next_number(&at, &offset) || !next_number(&at, &leader) || !next_number(&at, &time)) return false;
  if (strlen(value->text) != value->length || partition > INT32_MAX || epoch < 0 || epoch > INT32_MAX || offset < 0 ||
      leader < INT32_MIN || leader > INT32_MAX)
    return false;
  memcpy(topic, field->text, 32);
  topic[32] = 0;
  *row = (store_row){.group = group, .topic = topic, .metadata = at, .partition = (int32_t)partition, .leader_epoch = (int32_t)leader,
                     .member_epoch = (int32_t)epoch, .offset = offset, .committed_ms = time};
  return true;
}

/* HMGET: values for the fields that were asked for. */
static bool read_some(const Skein__Plugin__V1__FetchOffsets *fetch, const rd_reply *reply, store_page *page, char (*topics)[33]) {
  if (reply->count != fetch->n_partitions) return false;
  for (size_t i = 0; i < reply->count; i++) {
    if (reply->items[i]->kind == RD_NIL) continue;
    char text[MOST_FIELD];
    snprintf(text, sizeof text, "%.32s:%010d", fetch->partitions[i]->topic_id, (int)fetch->partitions[i]->partition);
    const rd_reply field = {.kind = RD_TEXT, .text = text, .length = strlen(text)};
    store_row row;
    if (reply->items[i]->kind != RD_TEXT || !read_row(fetch->group, &field, reply->items[i], topics[i], &row)) return false;
    if (!store_page_add(page, &row)) return false;
  }
  return true;
}

static bool read_all(const rd_reply *reply, store_page *page, char (*topics)[33]) {
  for (size_t i = 0; i + 2 < reply->count; i += 3) {
    store_row row;
    if (reply->items[i]->kind != RD_TEXT || reply->items[i + 1]->kind != RD_TEXT || reply->items[i + 2]->kind != RD_TEXT) return false;
    if (!read_row(reply->items[i]->text, reply->items[i + 1], reply->items[i + 2], topics[i], &row)) return false;
    if (!store_page_add(page, &row)) return false;
  }
  return reply->count % 3 != 2;
}

skein_status rd_read_answer(const store_call *call, const rd_reply *reply, uint8_t **result, size_t *length) {
  if (call->what == STORE_COMMIT || call->what == STORE_REMOVE) {
    if (reply->kind != RD_NUMBER) return SKEIN_FAILED;
    if (call->what == STORE_COMMIT && reply->number == -1) return SKEIN_RETRY_LATER; /* it does not come into the index */
    return reply->number == 1 ? SKEIN_OK : reply->number == 0 && call->what == STORE_COMMIT ? SKEIN_DENIED : SKEIN_FAILED;
  }
  if (reply->kind != RD_ARRAY) return SKEIN_FAILED;
  char(*topics)[33] = calloc(reply->count + 1, sizeof *topics);
  if (topics == NULL) return SKEIN_RETRY_LATER;
  store_page page = {0};
  const bool is_some = call->what == STORE_FETCH && call->request.fetch->n_partitions > 0;
  const bool is_good = is_some ? read_some(call->request.fetch, reply, &page, topics) : read_all(reply, &page, topics);
  skein_status status = page.failed ? SKEIN_RETRY_LATER : SKEIN_FAILED;
  if (is_good) {
    *result = store_page_pack(&page, !is_some && reply->count % 3 == 1, length);
    status = *result == NULL ? SKEIN_RETRY_LATER : SKEIN_OK;
  }
  store_page_free(&page);
  free(topics);
  return status;
}
