/* {{ID}}: knows one bearer token. Ask your identity provider in its place.
 *
 * Every step is answered before it returns, so the only open calls are those that a thread is in the middle of. One
 * that asks somebody else must return at once and complete from a thread of its own. */
#include "skein_plugin.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "skein/plugin/v1/authenticator.pb-c.h"

SKEIN_PLUGIN_ABI_MARK;

enum { MOST_RESULT = 512, MOST_PRINCIPAL = 63, LEAST_TOKEN = 16 };

typedef struct instance {
  void *host_ctx;
  const skein_host_async *async;
  atomic_int open;
  _Atomic skein_call quiesced; /* to be completed once `open` is 0; 0: none */
  char principal[MOST_PRINCIPAL + 1];
  size_t token_length;
  uint8_t token[];
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

/* Takes as long wherever the first difference is. The length of the token is no secret. */
static int is_token(const instance *self, skein_bytes given) {
  uint8_t difference = 0;
  if (given.len != self->token_length) return 0;
  for (size_t i = 0; i < given.len; i++) difference |= (uint8_t)(given.ptr[i] ^ self->token[i]);
  return difference == 0;
}

/* [any] */
static void step(void *raw, skein_call call, uint64_t deadline_ns, uint64_t exchange, skein_bytes mechanism,
                 const skein_peer *peer, skein_bytes message) {
  instance *self = raw;
  (void)deadline_ns, (void)exchange, (void)peer;
  atomic_fetch_add(&self->open, 1);
  if (mechanism.len != 6 || memcmp(mechanism.ptr, "bearer", 6) != 0) {
    end_call(self, call, SKEIN_UNSUPPORTED, NULL, 0);
  } else if (!is_token(self, message)) {
    end_call(self, call, SKEIN_DENIED, NULL, 0);
  } else {
    Skein__Plugin__V1__AuthenticateResult result = SKEIN__PLUGIN__V1__AUTHENTICATE_RESULT__INIT;
    uint8_t packed[MOST_RESULT]; /* a principal of 63 bytes and nothing else fits */
    result.principal = self->principal;
    const size_t length = skein__plugin__v1__authenticate_result__pack(&result, packed);
    end_call(self, call, SKEIN_OK, packed, length);
  }
}

static void end(void *self, uint64_t exchange) { (void)self, (void)exchange; }

static void cancel(void *self, skein_call call) { (void)self, (void)call; /* it is about to be answered */ }

static void quiesce(void *raw, skein_call done) {
  instance *self = raw;
  atomic_store(&self->quiesced, done);
  if (atomic_load(&self->open) == 0) finish_quiesce(self);
}

static int is_principal(skein_bytes text) {
  static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  for (size_t i = 0; i < text.len; i++)
    if (memchr(allowed, text.ptr[i], sizeof allowed - 1) == NULL) return 0;
  return text.len >= 1 && text.len <= MOST_PRINCIPAL;
}

static skein_status refuse(skein_bytes *why, const char *text, skein_status status) {
  *why = (skein_bytes){(const uint8_t *)text, strlen(text)};
  return status;
}

static skein_status create(const skein_host *host, uint64_t instance_id, skein_bytes config_json, void **out,
                           skein_bytes *why) {
  (void)config_json;
  const int can_get = SKEIN_HAS(skein_host, host, get);
  const skein_host_async *async = can_get ? host->get(host->ctx, SKEIN_HOST_ASYNC) : NULL;
  const skein_host_config *config = can_get ? host->get(host->ctx, SKEIN_HOST_CONFIG) : NULL;
  const skein_bytes token_name = {(const uint8_t *)"token", 5}, principal_name = {(const uint8_t *)"principal", 9};
  skein_bytes token, principal;
  if (!SKEIN_HAS(skein_host_async, async, complete) || !SKEIN_HAS(skein_host_config, config, lookup))
    return refuse(why, "the host lacks async or config", SKEIN_UNSUPPORTED);
  if (config->lookup(host->ctx, instance_id, token_name, &token) != 0 || token.len < LEAST_TOKEN)
    return refuse(why, "token is missing or shorter than 16 bytes: name its file by secret_file", SKEIN_BAD_CONFIG);
  if (config->lookup(host->ctx, instance_id, principal_name, &principal) != 0 || !is_principal(principal))
    return refuse(why, "principal is missing, or not 1 to 63 of a-z 0-9 . _ -: say who the token's owner is",
                  SKEIN_BAD_CONFIG);
  instance *self = calloc(1, sizeof *self + token.len);
  if (self == NULL) return refuse(why, "no memory", SKEIN_RETRY_LATER);
  self->host_ctx = host->ctx;
  self->async = async;
  memcpy(self->principal, principal.ptr, principal.len);
  memcpy(self->token, token.ptr, token.len);
  self->token_length = token.len;
  *out = self;
  return SKEIN_OK;
}

static void destroy(void *self) { free(self); }

static const skein_authenticator authenticator = {
    .size = sizeof(skein_authenticator),
    .ops = {.create = create, .quiesce = quiesce, .destroy = destroy},
    .step = step,
    .end = end,
    .cancel = cancel,
};

static const void *get(const char *kind_id) {
  return strcmp(kind_id, SKEIN_AUTHENTICATOR) == 0 ? &authenticator : NULL;
}

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
