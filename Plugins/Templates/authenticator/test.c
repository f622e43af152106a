/* Calls the plug-in as a host does, with a host that has a configuration and hears completions. */
#include "{{NAME}}.c"

#include <stdio.h>

#define CHECK(condition) \
  do { \
    if (!(condition)) { fprintf(stderr, "test.c:%d: %s\n", __LINE__, #condition); return 1; } \
    passed++; \
  } while (0)

static const char *token = NULL;
static int32_t lookup(void *ctx, uint64_t id, skein_bytes key, skein_bytes *out) {
  (void)ctx, (void)id;
  const char *value = key.len == 5 && memcmp(key.ptr, "token", 5) == 0 ? token : "reporting";
  if (value == NULL) return 1;
  *out = (skein_bytes){(const uint8_t *)value, strlen(value)};
  return 0;
}
static int completions;
static skein_call last_call;
static skein_status last_status;
static char last_principal[64];
static int32_t complete(void *ctx, skein_call call, skein_status status, skein_bytes result) {
  (void)ctx;
  completions++;
  last_call = call;
  last_status = status;
  Skein__Plugin__V1__AuthenticateResult *read =
      skein__plugin__v1__authenticate_result__unpack(NULL, result.len, result.ptr);
  snprintf(last_principal, sizeof last_principal, "%s", read == NULL ? "unreadable" : read->principal);
  if (read != NULL) skein__plugin__v1__authenticate_result__free_unpacked(read, NULL);
  return 0;
}
static int32_t is_cancelled(void *ctx, skein_call call) { return (void)ctx, (void)call, 0; }
static const skein_host_config config = {sizeof config, 0, lookup};
static const skein_host_async async = {sizeof async, 0, complete, is_cancelled};
static const void *service(void *ctx, const char *id) {
  (void)ctx;
  if (strcmp(id, SKEIN_HOST_CONFIG) == 0) return &config;
  return strcmp(id, SKEIN_HOST_ASYNC) == 0 ? &async : NULL;
}
static const skein_host host = {sizeof host, SKEIN_ABI_MINOR, NULL, service};

static const skein_authenticator *table;
static void *self;
static void try_step(const char *mechanism, const char *message, skein_call call) {
  skein_peer peer = {.size = sizeof peer};
  table->step(self, call, UINT64_MAX, 1, (skein_bytes){(const uint8_t *)mechanism, strlen(mechanism)}, &peer,
              (skein_bytes){(const uint8_t *)message, strlen(message)});
}

int main(void) {
  int passed = 0;
  skein_bytes why;
  table = skein_plugin_entry(&host)->get(SKEIN_AUTHENTICATOR);
  CHECK(table != NULL);
  CHECK(table->ops.create(&host, 1, (skein_bytes){NULL, 0}, &self, &why) == SKEIN_BAD_CONFIG);
  token = "0123456789abcdef";
  CHECK(table->ops.create(&host, 1, (skein_bytes){NULL, 0}, &self, &why) == SKEIN_OK);
  try_step("bearer", "0123456789abcdef", 1);
  CHECK(completions == 1 && last_call == 1 && last_status == SKEIN_OK && strcmp(last_principal, "reporting") == 0);
  static const char *wrong[] = {"", "0123456789abcdeF", "0123456789abcde", "0123456789abcdef0"};
  for (int i = 0; i < 4; i++) {
    try_step("bearer", wrong[i], 2 + (skein_call)i);
    CHECK(completions == 2 + i && last_status == SKEIN_DENIED && last_principal[0] == 0);
  }
  try_step("basic", "0123456789abcdef", 6);
  CHECK(last_status == SKEIN_UNSUPPORTED && completions == 6);
  table->ops.quiesce(self, 7);
  CHECK(completions == 7 && last_call == 7 && last_status == SKEIN_OK);
  table->ops.destroy(self);
  printf("%d passed\n", passed);
  return 0;
}
