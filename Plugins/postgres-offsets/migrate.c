/* What a new connection asks before it is used: settings of the session, the version of the schema, its upgrade. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postgres.h"

#include "migrations.h"

static const unsigned char *const migrations[PG_SCHEMA_VERSION] = {migration_1, migration_2};

/* Names the lock to PostgreSQL: "skein" in ASCII. One upgrade at a time in a database, whoever makes it. */
#define UPGRADE_LOCK "495891342702"

/* A consumer's open transaction may hold a row: what waits for it holds up its whole batch. */
enum { LOCK_TIMEOUT_MS = 1000 };

static void ask(pg_connection *self, pg_step step, store_text *sql) {
  self->step = step;
  self->state = PG_PREPARING;
  self->answer[0] = 0;
  self->why[0] = 0;
  self->events = POLLIN;
  const bool is_sent = !sql->failed && PQsendQuery(self->link, sql->bytes) == 1;
  const int left = is_sent ? PQflush(self->link) : -1;
  store_text_free(sql);
  if (left < 0) pg_lose(self, "it cannot be asked anything");
  else if (left > 0) self->events = POLLIN | POLLOUT;
}

void pg_begin_preparing(pg_connection *self) {
  if (PQsetnonblocking(self->link, 1) != 0) {
    pg_lose(self, "libpq does not become non-blocking");
    return;
  }
  const pg_settings *s = &self->owner->settings;
  store_text sql = {0};
  store_text_format(&sql,
                    "SELECT set_config('statement_timeout', '%d', false), set_config('lock_timeout', '%d', false),"
                    " set_config('idle_in_transaction_session_timeout', '60000', false),"
                    /* What was acknowledged is durable, whatever this role's default is. */
                    " set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
                    "   ELSE current_setting('synchronous_commit') END, false);"
                    "SELECT current_setting('fsync') || ' ' || (to_regclass('%s.schema_version') IS NOT NULL)",
                    s->statement_timeout_ms, s->statement_timeout_ms < LOCK_TIMEOUT_MS ? s->statement_timeout_ms : LOCK_TIMEOUT_MS, s->schema);
  ask(self, PG_ASK_SESSION, &sql);
}

static void ask_version(pg_connection *self) {
  store_text sql = {0};
  store_text_format(&sql, "SELECT coalesce(max(version), 0) FROM %s.schema_version", self->owner->settings.schema);
  ask(self, PG_ASK_VERSION, &sql);
}

/* CREATE SCHEMA IF NOT EXISTS needs the right to create even where there is nothing to do. */
static void lock(pg_connection *self) {
  const char *schema = self->owner->settings.schema;
  store_text sql = {0};
  store_text_format(&sql,
                    "BEGIN; SELECT pg_advisory_xact_lock(" UPGRADE_LOCK ");"
                    "DO $$ BEGIN"
                    " IF to_regnamespace('%s') IS NULL THEN CREATE SCHEMA %s; END IF;"
                    " IF to_regclass('%s.schema_version') IS NULL THEN"
                    "  CREATE TABLE %s.schema_version (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now(),"
                    "   applied_by text NOT NULL DEFAULT session_user); END IF; END $$;"
                    "SELECT coalesce(max(version), 0) FROM %s.schema_version",
                    schema, schema, schema, schema, schema);
  ask(self, PG_LOCK, &sql);
}

static void unlock(pg_connection *self) {
  store_text sql = {0};
  store_text_put(&sql, "COMMIT");
  ask(self, PG_UNLOCK, &sql);
}

static void migrate(pg_connection *self, int from) {
  static const char mark[] = "@schema@";
  const char *schema = self->owner->settings.schema;
  store_text sql = {0};
  for (int version = from + 1; version <= PG_SCHEMA_VERSION; version++) {
    const char *script = (const char *)migrations[version - 1];
    for (const char *at; (at = strstr(script, mark)) != NULL; script = at + strlen(mark)) {
      store_text_add(&sql, script, (size_t)(at - script));
      store_text_put(&sql, schema);
    }
    store_text_put(&sql, script);
    store_text_format(&sql, "\nINSERT INTO %s.schema_version (version) VALUES (%d);\n", schema, version);
  }
  store_text_put(&sql, "COMMIT");
  ask(self, PG_MIGRATE, &sql);
}

/* `is_locked`: the version is read under the lock, so it is the last word. */
static void judge(pg_connection *self, bool is_locked) {
  int64_t version;
  char why[PG_MOST_WHY];
  const char *schema = self->owner->settings.schema;
  if (!store_number(self->answer, strlen(self->answer), &version) || version < 0) {
    pg_lose(self, "the version of its schema is no number");
  } else if (version > PG_SCHEMA_VERSION) {
    snprintf(why, sizeof why, "its schema %s has version %lld, and this plug-in knows versions up to %d: install a newer plug-in",
             schema, (long long)version, (int)PG_SCHEMA_VERSION);
    pg_lose(self, why);
  } else if (version == PG_SCHEMA_VERSION) {
    if (is_locked) unlock(self);
    else pg_set_ready(self, true);
  } else if (is_locked) {
    store_log(self->owner->owner, SKEIN_LOG_INFO, "upgrading schema %s from version %lld to %d", schema, (long long)version, (int)PG_SCHEMA_VERSION);
    migrate(self, (int)version);
  } else if (self->owner->settings.migrates) {
    lock(self);
  } else {
    snprintf(why, sizeof why, "its schema %s has version %lld and must have %d: run the migrations as the schema's owner, or set \"migrate\": true",
             schema, (long long)version, (int)PG_SCHEMA_VERSION);
    pg_lose(self, why);
  }
}

static void finish_step(pg_connection *self) {
  char why[PG_MOST_WHY];
  if (self->why[0] != 0) {
    snprintf(why, sizeof why, "%s", self->why);
    pg_lose(self, why);
    return;
  }
  switch (self->step) {
    case PG_ASK_SESSION:
      if (strncmp(self->answer, "off", 3) == 0)
        pg_say(self->owner, SKEIN_LOG_WARNING, "the PostgreSQL server runs with fsync=off: committed offsets do not survive a power cut");
      if (strstr(self->answer, "true") != NULL) {
        ask_version(self);
      } else {
        snprintf(self->answer, sizeof self->answer, "0");
        judge(self, false);
      }
      break;
    case PG_ASK_VERSION: judge(self, false); break;
    case PG_LOCK: judge(self, true); break;
    case PG_MIGRATE:
    case PG_UNLOCK: pg_set_ready(self, true); break;
  }
}

void pg_prepare_more(pg_connection *self) {
  char line[PG_MOST_WHY];
  const int left = PQflush(self->link);
  if (left < 0 || PQconsumeInput(self->link) != 1) {
    pg_lose(self, pg_first_line(PQerrorMessage(self->link), line, sizeof line));
    return;
  }
  self->events = left > 0 ? POLLIN | POLLOUT : POLLIN;
  while (!PQisBusy(self->link)) {
    PGresult *result = PQgetResult(self->link);
    if (result == NULL) {
      finish_step(self);
      return;
    }
    const ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK && PQntuples(result) > 0 && PQnfields(result) > 0)
      snprintf(self->answer, sizeof self->answer, "%.63s", PQgetvalue(result, 0, 0));
    else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
      pg_first_line(PQresultErrorMessage(result), self->why, sizeof self->why);
    const bool is_copy = status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
    PQclear(result);
    if (is_copy) { /* no server does this to us, and it would come back for ever */
      pg_lose(self, "it answers what was not asked");
      return;
    }
  }
}
