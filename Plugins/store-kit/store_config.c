/* JSON is read by jansson; here stand types, ranges and sentences. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

enum { MOST_WHY = 512, MOST_CONFIG = 64 << 10, MOST_SECRET = 4096 };

void store_config_problem(store_config *config, const char *format, ...) {
  if (config->why[0] != 0) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(config->why, MOST_WHY, format, arguments);
  va_end(arguments);
}

bool store_config_open(store_config *config, skein_bytes json) {
  config->why[0] = 0;
  config->known = 0;
  config->root = NULL;
  json_error_t error;
  if (json.len > MOST_CONFIG) {
    store_config_problem(config, "the configuration has more than %d bytes", (int)MOST_CONFIG);
    return false;
  }
  config->root = json_loadb((const char *)json.ptr, json.len, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_object(config->root)) {
    store_config_problem(config, "the configuration is no JSON object: give {\"host\": …}");
    json_decref(config->root);
    config->root = NULL;
    return false;
  }
  return true;
}

static json_t *member(store_config *config, const char *name) {
  json_t *value = json_object_get(config->root, name);
  if (value != NULL) config->known++;
  return value;
}

static char *copy(store_config *config, const char *bytes, size_t length) {
  char *made = malloc(length + 1);
  if (made == NULL) {
    store_config_problem(config, "there is no memory");
    return NULL;
  }
  memcpy(made, bytes, length);
  made[length] = 0;
  return made;
}

char *store_config_text(store_config *config, const char *name, const char *fallback, bool required, size_t most) {
  const json_t *value = member(config, name);
  if (value == NULL) {
    if (required) store_config_problem(config, "%s is missing: add it to the configuration", name);
    return fallback == NULL || required ? NULL : copy(config, fallback, strlen(fallback));
  }
  if (!json_is_string(value)) {
    store_config_problem(config, "%s is not a string", name);
    return NULL;
  }
  const size_t length = json_string_length(value);
  if (length < 1 || length > most) {
    store_config_problem(config, "%s has %zu bytes, not 1 to %zu", name, length, most);
    return NULL;
  }
  return copy(config, json_string_value(value), length);
}

char *store_config_secret(store_config *config, const char *name) {
  json_t *value = member(config, name);
  if (value == NULL) return NULL;
  const json_t *file = json_object_get(value, "secret_file");
  if (!json_is_object(value) || json_object_size(value) != 1 || !json_is_string(file)) {
    store_config_problem(config, "%s is not {\"secret_file\": \"/path\"}: secrets stand in files of their own", name);
    return NULL;
  }
  skein_bytes found = {NULL, 0};
  const skein_bytes key = {(const uint8_t *)name, strlen(name)};
  if (!SKEIN_HAS(skein_host_config, config->host, lookup) ||
      config->host->lookup(config->host_ctx, config->instance, key, &found) != 0 || found.ptr == NULL) {
    store_config_problem(config, "%s: its secret_file cannot be read by the broker: check path and owner", name);
    return NULL;
  }
  size_t length = found.len;
  while (length > 0 && (found.ptr[length - 1] == '\n' || found.ptr[length - 1] == '\r')) length--;
  if (length < 1 || length > MOST_SECRET || memchr(found.ptr, 0, length) != NULL) {
    store_config_problem(config, "%s: its secret_file has %zu bytes or a NUL; 1 to %d are allowed", name, length, (int)MOST_SECRET);
    return NULL;
  }
  return copy(config, (const char *)found.ptr, length);
}

int64_t store_config_integer(store_config *config, const char *name, int64_t fallback, int64_t least, int64_t most) {
  const json_t *value = member(config, name);
  if (value == NULL) return fallback;
  if (!json_is_integer(value)) {
    store_config_problem(config, "%s is not an integer", name);
    return fallback;
  }
  const int64_t number = json_integer_value(value);
  if (number < least || number > most) {
    store_config_problem(config, "%s is %lld, not %lld to %lld", name, (long long)number, (long long)least, (long long)most);
    return fallback;
  }
  return number;
}

bool store_config_flag(store_config *config, const char *name, bool fallback) {
  const json_t *value = member(config, name);
  if (value == NULL) return fallback;
  if (!json_is_boolean(value)) {
    store_config_problem(config, "%s is neither true nor false", name);
    return fallback;
  }
  return json_is_true(value);
}

int store_config_choice(store_config *config, const char *name, const char *const *words) {
  const json_t *value = member(config, name);
  if (value == NULL) return 0;
  for (int i = 0; json_is_string(value) && words[i] != NULL; i++)
    if (strcmp(json_string_value(value), words[i]) == 0) return i;
  char known[128] = "";
  for (size_t i = 0; words[i] != NULL; i++)
    snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i == 0 ? "" : ", ", words[i]);
  store_config_problem(config, "%s is none of: %s", name, known);
  return 0;
}

bool store_config_close(store_config *config) {
  if (config->root == NULL) return false;
  if (json_object_size(config->root) > config->known)
    store_config_problem(config, "the configuration has members that are not known: see the plug-in's config_schema");
  json_decref(config->root);
  config->root = NULL;
  return config->why[0] == 0;
}

bool store_is_loopback(const char *host) {
  return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strncmp(host, "127.", 4) == 0;
}

/* protobuf-c does not look. */
bool store_is_text(const char *bytes, size_t length) {
  json_t *string = json_stringn(bytes, length);
  const bool is_text = string != NULL;
  json_decref(string);
  return is_text;
}
