/* The statements, their parameters, and what their results mean. Parameters are never part of a statement's text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postgres.h"

#define COLUMNS "replace(topic_id::text, '-', ''), partition, next_offset, leader_epoch, metadata, committed_ms, member_epoch"

static char *statement(const char *schema, const char *text) {
  store_text sql = {0};
  const char *at = strchr(text, '@');
  store_text_add(&sql, text, (size_t)(at - text));
  store_text_put(&sql, schema);
  store_text_put(&sql, at + 1);
  if (!sql.failed) return sql.bytes;
  store_text_free(&sql);
  return NULL;
}

bool pg_make_statements(pg_store *self) {
  const char *schema = self->settings.schema;
  self->commit_sql = statement(schema, "SELECT @.commit_offsets($1, $2, $3::integer, $4::uuid[], $5::integer[], $6::bigint[],"
                                       " $7::integer[], $8::text[], $9::bigint[])");
  self->fetch_sql = statement(schema, "SELECT group_name, " COLUMNS " FROM @.offsets WHERE tenant = $1 AND group_name = $2"
                                      " AND next_offset IS NOT NULL AND (topic_id, partition) > ($3::uuid, $4::integer)"
                                      " ORDER BY topic_id, partition LIMIT $5::integer");
  self->fetch_some_sql = statement(schema, "SELECT group_name, " COLUMNS " FROM @.offsets WHERE tenant = $1 AND group_name = $2"
                                           " AND next_offset IS NOT NULL AND (topic_id, partition) IN"
                                           " (SELECT * FROM unnest($3::uuid[], $4::integer[])) ORDER BY topic_id, partition");
  self->scan_sql = statement(schema, "SELECT group_name, " COLUMNS " FROM @.offsets WHERE tenant = $1 AND next_offset IS NOT NULL"
                                     " AND (group_name, topic_id, partition) > ($2 COLLATE \"C\", $3::uuid, $4::integer)"
                                     " ORDER BY group_name, topic_id, partition LIMIT $5::integer");
  self->remove_sql = statement(schema, "DELETE FROM @.offsets WHERE tenant = $1 AND group_name = $2");
  self->remove_some_sql = statement(schema, "DELETE FROM @.offsets WHERE tenant = $1 AND group_name = $2 AND (topic_id, partition) IN"
                                            " (SELECT * FROM unnest($3::uuid[], $4::integer[]))");
  return self->commit_sql != NULL && self->fetch_sql != NULL && self->fetch_some_sql != NULL && self->scan_sql != NULL &&
         self->remove_sql != NULL && self->remove_some_sql != NULL;
}

/* ---- Parameters ---- */

/* An element of an array in PostgreSQL's text form. */
static void put_quoted(store_text *out, const char *text) {
  store_text_add(out, "\"", 1);
  for (const char *c = text; *c != 0; c++) {
    if (*c == '"' || *c == '\\') store_text_add(out, "\\", 1);
    store_text_add(out, c, 1);
  }
  store_text_add(out, "\"", 1);
}

static bool send_commit(pg_connection *self, const Skein__Plugin__V1__CommitOffsets *commit) {
  enum { TOPICS, PARTITIONS, OFFSETS, LEADERS, METADATA, TIMES, COLUMN_COUNT };
  store_text columns[COLUMN_COUNT] = {{0}};
  for (size_t i = 0; i < commit->n_offsets; i++) {
    const Skein__Plugin__V1__StoredOffset *offset = commit->offsets[i];
    for (size_t c = 0; c < COLUMN_COUNT; c++) store_text_put(&columns[c], i == 0 ? "{" : ",");
    store_text_put(&columns[TOPICS], offset->topic_id);
    store_text_format(&columns[PARTITIONS], "%d", (int)offset->partition);
    store_text_format(&columns[OFFSETS], "%lld", (long long)offset->offset);
    store_text_format(&columns[LEADERS], "%d", (int)offset->leader_epoch);
    put_quoted(&columns[METADATA], offset->metadata);
    store_text_format(&columns[TIMES], "%lld", (long long)offset->committed_ms);
  }
  bool is_whole = true;
  for (size_t c = 0; c < COLUMN_COUNT; c++) {
    store_text_put(&columns[c], "}");
    is_whole = is_whole && !columns[c].failed;
  }
  char epoch[16];
  snprintf(epoch, sizeof epoch, "%d", (int)commit->member_epoch);
  const char *const values[] = {commit->tenant, commit->group, epoch, columns[0].bytes, columns[1].bytes, columns[2].bytes,
                                columns[3].bytes, columns[4].bytes, columns[5].bytes};
  const bool is_sent = is_whole && PQsendQueryParams(self->link, self->owner->commit_sql, 9, NULL, values, NULL, NULL, 0) == 1;
  for (size_t c = 0; c < COLUMN_COUNT; c++) store_text_free(&columns[c]);
  return is_sent;
}

static bool send_partitions(pg_connection *self, const char *sql, const char *tenant, const char *group,
                            Skein__Plugin__V1__TopicPartitionName *const *names, size_t count) {
  store_text topics = {0}, partitions = {0};
  for (size_t i = 0; i < count; i++) {
    store_text_format(&topics, "%s%s", i == 0 ? "{" : ",", names[i]->topic_id);
    store_text_format(&partitions, "%s%d", i == 0 ? "{" : ",", (int)names[i]->partition);
  }
  store_text_put(&topics, "}");
  store_text_put(&partitions, "}");
  const char *const values[] = {tenant, group, topics.bytes, partitions.bytes};
  const bool is_sent = !topics.failed && !partitions.failed &&
                       PQsendQueryParams(self->link, sql, count == 0 ? 2 : 4, NULL, values, NULL, NULL, 0) == 1;
  store_text_free(&topics);
  store_text_free(&partitions);
  return is_sent;
}

/* Of the page that the call asks for; 0: no limit. */
static int page_limit(const store_call *call) {
  const uint32_t limit = call->what == STORE_SCAN ? call->request.scan->limit : call->request.fetch->limit;
  if (limit < 1) return call->what == STORE_SCAN ? 1 : 0;
  return limit > STORE_MOST_PAGE ? STORE_MOST_PAGE : (int)limit;
}

/* `group`: of which a page is wanted; NULL: of all of the tenant. */
static bool send_page(pg_connection *self, const store_call *call, const char *tenant, const char *group, const char *token) {
  store_place place = {-1, "00000000000000000000000000000000", ""};
  if (token[0] != 0) store_read_token(token, &place);
  char partition[16], limit[16];
  snprintf(partition, sizeof partition, "%d", (int)place.partition);
  snprintf(limit, sizeof limit, "%d", page_limit(call));
  const char *const values[] = {tenant, group != NULL ? group : place.group, place.topic, partition, page_limit(call) > 0 ? limit : NULL};
  return PQsendQueryParams(self->link, group != NULL ? self->owner->fetch_sql : self->owner->scan_sql, 5, NULL, values, NULL, NULL, 0) == 1;
}

bool pg_send_statement(pg_connection *self, const store_call *call) {
  const pg_store *owner = self->owner;
  switch (call->what) {
    case STORE_COMMIT: return send_commit(self, call->request.commit);
    case STORE_FETCH: {
      const Skein__Plugin__V1__FetchOffsets *fetch = call->request.fetch;
      if (fetch->n_partitions == 0) return send_page(self, call, fetch->tenant, fetch->group, fetch->token);
      return send_partitions(self, owner->fetch_some_sql, fetch->tenant, fetch->group, fetch->partitions, fetch->n_partitions);
    }
    case STORE_SCAN: return send_page(self, call, call->request.scan->tenant, NULL, call->request.scan->token);
    case STORE_REMOVE: {
      const Skein__Plugin__V1__RemoveOffsets *remove = call->request.remove;
      return send_partitions(self, remove->n_partitions == 0 ? owner->remove_sql : owner->remove_some_sql, remove->tenant, remove->group,
                             remove->partitions, remove->n_partitions);
    }
  }
  return false;
}

/* ---- Results ---- */

/* What a refusal of the server means. All of them undo the transaction: nothing was changed. */
static skein_status status_of(pg_store *self, const PGresult *result) {
  const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  if (state == NULL) state = "";
  if (strcmp(state, "SK001") == 0) return SKEIN_DENIED;
  /* Another transaction was in the way, the statement took too long, or the server goes down: that passes. */
  static const char *const passing[] = {"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03"};
  for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
    if (strcmp(state, passing[i]) == 0) return SKEIN_RETRY_LATER;
  char line[256], why[PG_MOST_WHY];
  snprintf(why, sizeof why, "PostgreSQL refuses a statement: %s (SQLSTATE %.5s)",
           pg_first_line(PQresultErrorMessage(result), line, sizeof line), state);
  pg_say(self, SKEIN_LOG_ERROR, why);
  /* Values that it will never take. All else (rights, disk, memory, a missing table) an operator can mend. */
  return strncmp(state, "22", 2) == 0 || strncmp(state, "23", 2) == 0 ? SKEIN_FAILED : SKEIN_RETRY_LATER;
}

static bool read_number(const PGresult *result, int row, int column, int64_t most, int64_t *value) {
  return store_number(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column), value) && *value >= 0 && *value <= most;
}

static bool read_row(const PGresult *result, int row, store_row *out) {
  int64_t partition, offset, leader, time, epoch;
  if (!read_number(result, row, 2, INT32_MAX, &partition) || !read_number(result, row, 3, INT64_MAX, &offset) ||
      !store_number(PQgetvalue(result, row, 4), (size_t)PQgetlength(result, row, 4), &leader) || leader < INT32_MIN || leader > INT32_MAX ||
      !store_number(PQgetvalue(result, row, 6), (size_t)PQgetlength(result, row, 6), &time) ||
      !read_number(result, row, 7, INT32_MAX, &epoch))
    return false;
  *out = (store_row){.group = PQgetvalue(result, row, 0), .topic = PQgetvalue(result, row, 1), .metadata = PQgetvalue(result, row, 5),
                     .partition = (int32_t)partition, .offset = offset, .leader_epoch = (int32_t)leader, .committed_ms = time,
                     .member_epoch = (int32_t)epoch};
  return true;
}

static void read_page(pg_store *self, const PGresult *result, pg_op *op) {
  const int rows = PQntuples(result);
  const bool is_paged = op->call->what == STORE_SCAN || op->call->request.fetch->n_partitions == 0;
  store_page page = {0};
  op->status = SKEIN_FAILED;
  bool is_good = PQnfields(result) == 8, is_full = false;
  for (int i = 0; is_good && !is_full && i < rows; i++) {
    store_row row;
    is_good = read_row(result, i, &row);
    if (is_good) is_full = !store_page_add(&page, &row);
  }
  if (!is_good) {
    pg_say(self, SKEIN_LOG_ERROR, "the table of offsets has a value that is none: was it changed by hand?");
  } else if (page.failed) {
    op->status = SKEIN_RETRY_LATER;
  } else if (is_full && !is_paged) {
    pg_say(self, SKEIN_LOG_ERROR, "these offsets are more than one answer holds (1 MiB): ask for fewer partitions at once");
  } else {
    const bool has_more = is_paged && (is_full || (page_limit(op->call) > 0 && rows == page_limit(op->call)));
    op->result = store_page_pack(&page, has_more, &op->length);
    op->status = op->result == NULL ? SKEIN_RETRY_LATER : SKEIN_OK;
  }
  store_page_free(&page);
}

void pg_read_result(pg_store *self, const PGresult *result, pg_op *op) {
  switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_ABORTED: op->status = SKEIN_RETRY_LATER; break;
    case PGRES_COMMAND_OK: op->status = SKEIN_OK; break;
    case PGRES_TUPLES_OK:
      if (op->call == NULL || op->call->what == STORE_COMMIT) op->status = SKEIN_OK;
      else read_page(self, result, op);
      break;
    default: op->status = status_of(self, result);
  }
}
