/* com.skein.redis-offsets: where consumer groups stand, in Redis. Here: configuration, and the calls' way in and out. */
#include <stdlib.h>
#include <string.h>

#include "redis.h"

static void read_settings(rd_settings *s, store_config *config) {
  static const char *const tls[] = {"verify-full", "off", NULL};
  static const char *const durability[] = {"always", "everysec", "none", NULL};
  s->host = store_config_text(config, "host", NULL, true, 255);
  s->port = (int)store_config_integer(config, "port", 6379, 1, 65535);
  s->user = store_config_text(config, "user", NULL, false, 255);
  s->password = store_config_secret(config, "password");
  s->uses_tls = store_config_choice(config, "tls", tls) == 0;
  s->ca_file = store_config_text(config, "ca_file", "/etc/ssl/certs/ca-certificates.crt", false, 1023);
  s->certificate_file = store_config_text(config, "client_certificate_file", NULL, false, 1023);
  s->key_file = store_config_text(config, "client_key_file", NULL, false, 1023);
  s->database = (int)store_config_integer(config, "database", 0, 0, 1000000);
  s->prefix = store_config_text(config, "prefix", "skein", false, 100);
  s->durability = store_config_choice(config, "durability", durability);
  s->wait_replicas = (int)store_config_integer(config, "wait_replicas", 0, 0, 16);
  s->wait_ms = (int)store_config_integer(config, "wait_ms", 1000, 10, 60000);
  s->connect_timeout_ns = (uint64_t)store_config_integer(config, "connect_timeout_ms", 5000, 100, 60000) * 1000000u;
  s->answer_timeout_ns = (uint64_t)store_config_integer(config, "answer_timeout_ms", 5000, 100, 60000) * 1000000u;
  if (s->wait_replicas > 0) s->answer_timeout_ns += (uint64_t)s->wait_ms * 1000000u;
  if (s->host != NULL && !s->uses_tls && !store_is_loopback(s->host))
    store_config_problem(config, "tls is off, and %.100s is another machine: password and offsets would cross the network in clear text", s->host);
  if ((s->certificate_file == NULL) != (s->key_file == NULL))
    store_config_problem(config, "client_certificate_file and client_key_file come together");
  if (s->user != NULL && s->password == NULL) store_config_problem(config, "user has no password: add {\"secret_file\": PATH}");
  if (s->prefix != NULL && strpbrk(s->prefix, "{}") != NULL) store_config_problem(config, "prefix may not have { or }");
}

static void free_queue(rd_queue *queue) {
  for (rd_op *op; (op = rd_pop(queue)) != NULL;) free(op);
}

static void destroy(void *raw) {
  rd_store *self = raw;
  rd_queue *const queues[] = {&self->waiting, &self->flight, &self->held, &self->again};
  for (size_t i = 0; i < sizeof queues / sizeof queues[0]; i++) free_queue(queues[i]);
  store_lookup_end(self->lookup);
  rd_link_close(self->link);
  rd_reader_free(self->reader);
  store_text_free(&self->output);
  rd_settings *s = &self->settings;
  char *const all[] = {s->host, s->user, s->ca_file, s->certificate_file, s->key_file, s->prefix};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
  if (s->password != NULL) explicit_bzero(s->password, strlen(s->password));
  free(s->password);
  free(self);
}

static void *create(store *owner, store_config *config) {
  rd_store *self = calloc(1, sizeof *self);
  if (self == NULL) return NULL;
  self->owner = owner;
  read_settings(&self->settings, config);
  if (config->why[0] == 0) return self;
  destroy(self);
  return NULL;
}

/* A brace ends what Redis takes for a key's slot, and two tenants' keys could meet. */
static bool is_plain(const store_call *call) {
  const char *tenant = "";
  switch (call->what) {
    case STORE_COMMIT: tenant = call->request.commit->tenant; break;
    case STORE_FETCH: tenant = call->request.fetch->tenant; break;
    case STORE_SCAN: tenant = call->request.scan->tenant; break;
    case STORE_REMOVE: tenant = call->request.remove->tenant; break;
  }
  return strpbrk(tenant, "{}") == NULL;
}

static void submit(void *raw, store_call *call) {
  rd_store *self = raw;
  skein_status status = SKEIN_RETRY_LATER;
  rd_op *op = NULL;
  if (call->what == STORE_COMMIT && call->request.commit->n_offsets == 0) status = SKEIN_OK;
  else if (!is_plain(call)) status = SKEIN_FAILED;
  else if (!rd_is_down(self) && (call->what != STORE_COMMIT || store_sort_offsets(call->request.commit))) op = calloc(1, sizeof *op);
  if (op == NULL) {
    store_end(self->owner, call, status, NULL, 0);
    return;
  }
  op->call = call;
  op->script = rd_script_of(call);
  call->place = op;
  rd_push(&self->waiting, op);
}

static void drop(void *raw, store_call *call) {
  (void)raw;
  rd_op *op = call->place;
  if (op != NULL) op->call = NULL;
  call->place = NULL;
}

static size_t prepare(void *raw, struct pollfd *polled, uint64_t now, uint64_t *wake) {
  rd_store *self = raw;
  if (self->state == RD_READY) rd_send(self, now);
  uint64_t until = self->wake_ns;
  if (self->state == RD_RESOLVING && until > now + 5000000u) until = now + 5000000u; /* the lookup tells nobody */
  if (self->state == RD_READY)
    until = self->flight.first == NULL ? UINT64_MAX : self->flight.first->sent_ns + self->settings.answer_timeout_ns;
  if (until < *wake) *wake = until;
  if (self->link == NULL) return 0;
  polled[0] = (struct pollfd){.fd = rd_link_descriptor(self->link), .events = rd_link_events(self->link, self->written < self->output.length)};
  return 1;
}

static void turn(void *raw, const struct pollfd *polled, size_t count, uint64_t now) {
  rd_advance(raw, count > 0 ? polled[0].revents : 0, now);
}

static const store_driver driver = {
    .id = "com.skein.redis-offsets",
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
