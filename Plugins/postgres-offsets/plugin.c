/* com.skein.postgres-offsets: where consumer groups stand, in PostgreSQL. Here: configuration, and who gets which call. */
#include <stdlib.h>
#include <string.h>

#include "postgres.h"

static void free_settings(pg_settings *s) {
  char *const all[] = {s->host, s->database, s->user, s->ca_file, s->certificate_file, s->key_file, s->schema};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
  if (s->password != NULL) explicit_bzero(s->password, strlen(s->password));
  free(s->password);
}

/* It becomes part of statements as it is. */
static bool is_identifier(const char *name) {
  return strspn(name, "abcdefghijklmnopqrstuvwxyz_") > 0 && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == 0 &&
         strlen(name) <= 63 && strncmp(name, "pg_", 3) != 0;
}

static void read_settings(pg_settings *s, store_config *config) {
  static const char *const tls[] = {"verify-full", "off", NULL};
  s->host = store_config_text(config, "host", NULL, true, 255);
  s->port = (int)store_config_integer(config, "port", 5432, 1, 65535);
  s->database = store_config_text(config, "database", NULL, true, 63);
  s->user = store_config_text(config, "user", NULL, true, 63);
  s->password = store_config_secret(config, "password");
  s->uses_tls = store_config_choice(config, "tls", tls) == 0;
  s->ca_file = store_config_text(config, "ca_file", "/etc/ssl/certs/ca-certificates.crt", false, 1023);
  s->certificate_file = store_config_text(config, "client_certificate_file", NULL, false, 1023);
  s->key_file = store_config_text(config, "client_key_file", NULL, false, 1023);
  s->schema = store_config_text(config, "schema", "skein", false, 63);
  s->connections = (int)store_config_integer(config, "connections", 4, 1, PG_MOST_CONNECTIONS);
  s->migrates = store_config_flag(config, "migrate", true);
  s->connect_timeout_ns = (uint64_t)store_config_integer(config, "connect_timeout_ms", 5000, 100, 60000) * 1000000u;
  s->statement_timeout_ms = (int)store_config_integer(config, "statement_timeout_ms", 5000, 100, 600000);
  if (s->schema != NULL && !is_identifier(s->schema))
    store_config_problem(config, "schema may have a-z, 0-9 and _ only, and not begin with pg_ or a digit");
  if (s->host != NULL && !s->uses_tls && !store_is_loopback(s->host))
    store_config_problem(config, "tls is off, and %.100s is another machine: password and offsets would cross the network in clear text", s->host);
  if ((s->certificate_file == NULL) != (s->key_file == NULL))
    store_config_problem(config, "client_certificate_file and client_key_file come together");
}

static void destroy(void *raw) {
  pg_store *self = raw;
  for (size_t i = 0; i < PG_MOST_CONNECTIONS; i++) {
    pg_connection *connection = &self->connections[i];
    pg_requeue(connection);
    for (pg_op *op; (op = pg_pop(&connection->commits)) != NULL;) pg_free_op(op);
    for (pg_op *op; (op = pg_pop(&connection->reads)) != NULL;) pg_free_op(op);
    store_lookup_end(connection->lookup);
    PQfinish(connection->link);
  }
  char *const all[] = {self->commit_sql, self->fetch_sql, self->fetch_some_sql, self->scan_sql, self->remove_sql, self->remove_some_sql};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
  free_settings(&self->settings);
  free(self);
}

static void *create(store *owner, store_config *config) {
  pg_store *self = calloc(1, sizeof *self);
  if (self == NULL) return NULL;
  self->owner = owner;
  read_settings(&self->settings, config);
  for (size_t i = 0; i < PG_MOST_CONNECTIONS; i++) self->connections[i].owner = self;
  if (config->why[0] == 0 && pg_make_statements(self)) return self;
  destroy(self);
  return NULL;
}

/* FNV-1a. Calls of one group go over one connection, one after the other. */
static size_t place_of(const char *tenant, const char *group) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char *c = tenant; *c != 0; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
  hash = (hash ^ 0xffu) * 0x100000001b3u;
  for (const char *c = group; *c != 0; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
  return (size_t)(hash >> 32);
}

static bool is_idle(const pg_connection *c) {
  return c->commits.first == NULL && c->reads.first == NULL && c->flight == NULL;
}

static pg_connection *choose(pg_store *self, const store_call *call, pg_connection **home) {
  const size_t count = (size_t)self->settings.connections;
  size_t place = 0;
  switch (call->what) {
    case STORE_COMMIT: place = place_of(call->request.commit->tenant, call->request.commit->group); break;
    case STORE_FETCH: place = place_of(call->request.fetch->tenant, call->request.fetch->group); break;
    case STORE_SCAN: place = place_of(call->request.scan->tenant, ""); break;
    case STORE_REMOVE: place = place_of(call->request.remove->tenant, call->request.remove->group); break;
  }
  pg_connection *own = &self->connections[place % count];
  *home = own;
  if (own->away > 0) return own->stand_in;
  /* Another one takes over only where nothing of this group can still be under way. */
  if (!pg_is_down(own) || !is_idle(own)) return own;
  for (size_t i = 1; i < count; i++) {
    pg_connection *other = &self->connections[(place + i) % count];
    if (other->state == PG_READY) return other;
  }
  return own;
}

static void submit(void *raw, store_call *call) {
  pg_store *self = raw;
  if (call->what == STORE_COMMIT && call->request.commit->n_offsets == 0) {
    store_end(self->owner, call, SKEIN_OK, NULL, 0);
    return;
  }
  pg_connection *home, *connection = choose(self, call, &home);
  pg_op *op = NULL;
  if (!pg_is_down(connection) && (call->what != STORE_COMMIT || store_sort_offsets(call->request.commit)))
    op = calloc(1, sizeof *op);
  if (op == NULL) {
    store_end(self->owner, call, SKEIN_RETRY_LATER, NULL, 0);
    return;
  }
  op->call = call;
  call->place = op;
  if (connection != home) {
    op->home = home;
    home->stand_in = connection;
    home->away++;
  }
  pg_push(call->what == STORE_COMMIT ? &connection->commits : &connection->reads, op);
}

static void drop(void *raw, store_call *call) {
  (void)raw;
  pg_op *op = call->place;
  if (op != NULL) op->call = NULL;
  call->place = NULL;
}

static size_t prepare(void *raw, struct pollfd *polled, uint64_t now, uint64_t *wake) {
  pg_store *self = raw;
  size_t count = 0;
  for (size_t i = 0; i < (size_t)self->settings.connections; i++) {
    pg_connection *c = &self->connections[i];
    if (c->state == PG_READY) pg_send(c, now);
    uint64_t until = c->wake_ns;
    if (c->state == PG_RESOLVING && until > now + 5000000u) until = now + 5000000u; /* the lookup tells nobody */
    if (c->state == PG_READY)
      until = c->flight == NULL ? UINT64_MAX : c->flight->sent_ns + (uint64_t)(self->settings.statement_timeout_ms + 1000) * 1000000u;
    if (until < *wake) *wake = until;
    const int descriptor = c->link == NULL ? -1 : PQsocket(c->link);
    if (descriptor < 0) continue;
    self->polled[count] = i;
    polled[count++] = (struct pollfd){.fd = descriptor, .events = c->events};
  }
  return count;
}

static void turn(void *raw, const struct pollfd *polled, size_t count, uint64_t now) {
  pg_store *self = raw;
  short happened[PG_MOST_CONNECTIONS] = {0};
  for (size_t i = 0; i < count; i++) happened[self->polled[i]] = polled[i].revents;
  for (size_t i = 0; i < (size_t)self->settings.connections; i++) pg_advance(&self->connections[i], happened[i], now);
}

static const store_driver driver = {
    .id = "com.skein.postgres-offsets",
    .version = "1.0.0",
    .create = create,
    .submit = submit,
    .drop = drop,
    .prepare = prepare,
    .turn = turn,
    .destroy = destroy,
};

SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  (void)host;
  return store_plugin(&driver);
}
