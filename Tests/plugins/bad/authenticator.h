/*
 * What the bad authenticators have in common: one that lets in "bearer" with "open-sesame-0123456789" and denies all
 * else, of which each file breaks one promise. A file defines what it does otherwise before it includes this:
 *
 *   PLUGIN_ID, ACCEPT(mechanism, message), ON_STEP(self, call, deadline, status, result), ON_QUIESCE(self, done),
 *   ON_CANCEL(self, call), ON_DESTROY(self), ON_MESSAGE(self, message)
 */
#include <stdlib.h>
#include <string.h>

#include "skein_plugin.h"

SKEIN_PLUGIN_ABI_MARK;

struct authenticator {
  const skein_host *host;
  uint64_t instance;
  uint32_t open;
};

static void complete(struct authenticator *self, skein_call call, skein_status status, skein_bytes result) {
  const skein_host_async *async = self->host->get(self->host->ctx, SKEIN_HOST_ASYNC);
  if (async && async->size >= 16) async->complete(self->host->ctx, call, status, result);
}

static inline int equals(skein_bytes bytes, const char *text) {
  return bytes.len == strlen(text) && memcmp(bytes.ptr, text, bytes.len) == 0;
}

#define SECRET "open-sesame-0123456789"
#ifndef ACCEPT
#define ACCEPT(mechanism, message) (equals(mechanism, "bearer") && equals(message, SECRET))
#endif
#ifndef ON_STEP
#define ON_STEP(self, call, deadline, status, result) complete(self, call, status, result)
#endif
#ifndef ON_QUIESCE
#define ON_QUIESCE(self, done) complete(self, done, SKEIN_OK, (skein_bytes){0, 0})
#endif
#ifndef ON_CANCEL
#define ON_CANCEL(self, call)
#endif
#ifndef ON_DESTROY
#define ON_DESTROY(self) free(self)
#endif
#ifndef ON_MESSAGE
#define ON_MESSAGE(self, message)
#endif

static skein_status create(const skein_host *host, uint64_t instance, skein_bytes config, void **self,
                           skein_bytes *why) {
  static const char sentence[] = "the configuration is not a JSON object; give {}";
  struct authenticator *made;
  if (config.len < 2 || config.ptr[0] != '{' || config.ptr[config.len - 1] != '}') {
    why->ptr = (const uint8_t *)sentence;
    why->len = sizeof sentence - 1;
    return SKEIN_BAD_CONFIG;
  }
  made = calloc(1, sizeof *made);
  if (!made) return SKEIN_RETRY_LATER;
  made->host = host;
  made->instance = instance;
  *self = made;
  return SKEIN_OK;
}

static void quiesce(void *self, skein_call done) { ON_QUIESCE((struct authenticator *)self, done); }
static void destroy(void *self) { ON_DESTROY((struct authenticator *)self); }

static void step(void *pointer, skein_call call, uint64_t deadline, uint64_t exchange, skein_bytes mechanism,
                 const skein_peer *peer, skein_bytes message) {
  /* AuthenticateResult{principal: "kit"} */
  static const uint8_t principal[] = {0x12, 3, 'k', 'i', 't'};
  struct authenticator *self = pointer;
  skein_status status = ACCEPT(mechanism, message) ? SKEIN_OK : SKEIN_DENIED;
  skein_bytes result = {0, 0};
  (void)exchange, (void)peer, (void)deadline;
  if (status == SKEIN_OK) result.ptr = principal, result.len = sizeof principal;
  ON_MESSAGE(self, message);
  ON_STEP(self, call, deadline, status, result);
}

static void end(void *self, uint64_t exchange) { (void)self, (void)exchange; }
static void cancel(void *self, skein_call call) {
  (void)self, (void)call;
  ON_CANCEL((struct authenticator *)self, call);
}

static const skein_authenticator table = {sizeof table, 0, {create, quiesce, destroy}, step, end, cancel};
static const void *get(const char *kind) { return strcmp(kind, SKEIN_AUTHENTICATOR) == 0 ? &table : 0; }
static const skein_plugin plugin = {sizeof plugin, SKEIN_ABI_MINOR, PLUGIN_ID, "1.0.0", get};
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  return host->get(host->ctx, SKEIN_HOST_ASYNC) ? &plugin : 0;
}
