/* One connection: address, TLS and login, loss, and the time until the next try. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postgres.h"

const char *pg_first_line(const char *message, char *line, size_t size) {
  size_t length = strcspn(message, "\r\n");
  if (length >= size) length = size - 1;
  memcpy(line, message, length);
  line[length] = 0;
  return line;
}

void pg_say(pg_store *self, int32_t level, const char *why) {
  const uint64_t now = store_now();
  if (strcmp(self->said, why) == 0 && now - self->said_ns < 60000000000u) return;
  snprintf(self->said, sizeof self->said, "%s", why);
  self->said_ns = now;
  store_log(self->owner, level, "%s", why);
}

bool pg_is_down(const pg_connection *self) { return self->backoff.failures > 0 && self->state != PG_READY; }

/* Answers what was never sent; what was, waits for the next try: it may have happened. */
static void answer_unsent(pg_connection *self, pg_queue *queue, bool reads) {
  pg_queue kept = {NULL, NULL};
  for (pg_op *op; (op = pg_pop(queue)) != NULL;) {
    if (op->call != NULL && op->was_sent && !reads) {
      pg_push(&kept, op);
      continue;
    }
    if (op->call != NULL) store_end(self->owner->owner, op->call, SKEIN_RETRY_LATER, NULL, 0);
    pg_free_op(op);
  }
  *queue = kept;
}

static size_t ready_count(const pg_store *self) {
  size_t count = 0;
  for (size_t i = 0; i < (size_t)self->settings.connections; i++) count += self->connections[i].state == PG_READY;
  return count;
}

void pg_lose(pg_connection *self, const char *why) {
  const uint64_t now = store_now();
  pg_store *owner = self->owner;
  const bool was_ready = self->state == PG_READY;
  char text[PG_MOST_WHY];
  snprintf(text, sizeof text, "%s %.120s:%d: %.300s", was_ready ? "lost the connection to PostgreSQL" : "no connection to PostgreSQL",
           owner->settings.host, owner->settings.port, why);
  pg_say(owner, SKEIN_LOG_WARNING, text);
  store_lookup_end(self->lookup);
  self->lookup = NULL;
  PQfinish(self->link);
  self->link = NULL;
  self->state = PG_WAITING;
  pg_requeue(self);
  store_record(owner->owner, STORE_CONNECTIONS, (double)ready_count(owner));
  if (was_ready) {
    store_record(owner->owner, STORE_RECONNECTS, 1);
    self->backoff.failures = 0;
    /* At once, unless it was lost as soon as it was there. */
    self->wake_ns = now - self->ready_ns < 1000000000u ? now + 200000000u : now;
    return;
  }
  self->wake_ns = now + store_backoff_next(&self->backoff);
  answer_unsent(self, &self->commits, false);
  answer_unsent(self, &self->reads, true);
}

void pg_set_ready(pg_connection *self, bool is_ready) {
  if (!is_ready) return;
  if (PQenterPipelineMode(self->link) != 1) {
    pg_lose(self, "libpq does not enter pipeline mode");
    return;
  }
  self->state = PG_READY;
  self->ready_ns = store_now();
  self->backoff.failures = 0;
  self->events = POLLIN;
  const size_t count = ready_count(self->owner);
  store_record(self->owner->owner, STORE_CONNECTIONS, (double)count);
  if (count == 1) {
    store_log(self->owner->owner, SKEIN_LOG_INFO, "connected to PostgreSQL %d at %s:%d, schema %s version %d",
              PQserverVersion(self->link), self->owner->settings.host, self->owner->settings.port,
              self->owner->settings.schema, (int)PG_SCHEMA_VERSION);
    self->owner->said[0] = 0;
  }
}

static void ignore_notice(void *context, const PGresult *notice) { (void)context, (void)notice; }

static void start(pg_connection *self, const store_addresses *addresses) {
  const pg_settings *s = &self->owner->settings;
  store_text hosts = {0}, numbers = {0};
  for (size_t i = 0; i < addresses->count; i++) {
    store_text_format(&hosts, "%s%s", i == 0 ? "" : ",", s->host);
    store_text_format(&numbers, "%s%s", i == 0 ? "" : ",", addresses->text[i]);
  }
  char port[16];
  snprintf(port, sizeof port, "%d", s->port);
  /* Everything that libpq would otherwise look for in environment and home. No default may weaken the TLS. */
  const char *const names[] = {
      "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "sslmode", "sslrootcert", "sslcert", "sslkey",
      "sslcrl", "sslcrldir", "ssl_min_protocol_version", "gssencmode", "target_session_attrs", "client_encoding",
      "application_name", "fallback_application_name", "keepalives_idle", "keepalives_interval", "keepalives_count",
      "tcp_user_timeout", "options", NULL};
  const char *const values[] = {
      hosts.bytes, numbers.bytes, port, s->database, s->user, s->password == NULL ? "" : s->password, "/dev/null/none",
      s->uses_tls ? "verify-full" : "disable", s->ca_file, s->certificate_file == NULL ? "/dev/null/none" : s->certificate_file,
      s->key_file == NULL ? "/dev/null/none" : s->key_file, "", "", "TLSv1.2", "disable", "read-write", "UTF8", "skein", "skein",
      "10", "5", "3", "5000", "", NULL};
  _Static_assert(sizeof names == sizeof values, "a name for each value");
  if (!hosts.failed && !numbers.failed) self->link = PQconnectStartParams(names, values, 0);
  store_text_free(&hosts);
  store_text_free(&numbers);
  char line[PG_MOST_WHY];
  if (self->link == NULL) pg_lose(self, "there is no memory");
  else if (PQstatus(self->link) == CONNECTION_BAD) pg_lose(self, pg_first_line(PQerrorMessage(self->link), line, sizeof line));
  else {
    PQsetNoticeReceiver(self->link, ignore_notice, NULL);
    self->state = PG_CONNECTING;
    self->events = POLLOUT;
  }
}

static void go_on_connecting(pg_connection *self, uint64_t now) {
  char line[PG_MOST_WHY];
  switch (PQconnectPoll(self->link)) {
    case PGRES_POLLING_READING: self->events = POLLIN; break;
    case PGRES_POLLING_WRITING: self->events = POLLOUT; break;
    case PGRES_POLLING_OK:
      self->wake_ns = now + (uint64_t)self->owner->settings.statement_timeout_ms * 1000000u + 5000000000u;
      pg_begin_preparing(self);
      break;
    default: pg_lose(self, pg_first_line(PQerrorMessage(self->link), line, sizeof line));
  }
}

static void resolve(pg_connection *self) {
  store_addresses addresses;
  char why[256];
  switch (store_lookup_look(self->lookup, &addresses, why)) {
    case 0:
      store_lookup_end(self->lookup);
      self->lookup = NULL;
      start(self, &addresses);
      break;
    case 1: break;
    default: pg_lose(self, why);
  }
}

void pg_advance(pg_connection *self, short happened, uint64_t now) {
  if (self->state == PG_WAITING && now >= self->wake_ns) {
    self->wake_ns = now + self->owner->settings.connect_timeout_ns;
    self->lookup = store_lookup_begin(self->owner->settings.host);
    self->state = PG_RESOLVING;
    if (self->lookup == NULL) pg_lose(self, "there is no memory or thread to resolve its name");
  }
  if (self->state == PG_RESOLVING) resolve(self);
  else if (self->state == PG_CONNECTING && happened != 0) go_on_connecting(self, now);
  else if (self->state == PG_PREPARING && happened != 0) pg_prepare_more(self);
  else if (self->state == PG_READY && happened != 0) pg_receive(self);
  const bool is_trying = self->state == PG_RESOLVING || self->state == PG_CONNECTING || self->state == PG_PREPARING;
  if (is_trying && now >= self->wake_ns) pg_lose(self, "it did not answer in time");
  if (self->state == PG_READY && self->flight != NULL && now > self->flight->sent_ns &&
      now - self->flight->sent_ns > (uint64_t)(self->owner->settings.statement_timeout_ms + 1000) * 1000000u)
    pg_lose(self, "it did not answer a statement in time");
}
