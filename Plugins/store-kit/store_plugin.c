/* Making and ending instances, and the tables of the plug-in. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "store_instance.h"

SKEIN_PLUGIN_ABI_MARK;

enum { MOST_WHY = 512 };

/* Written once, from skein_plugin_entry, before the host has a table to call by. */
static const store_driver *the_driver;

static void define_metrics(store *self) {
  static const struct { const char *name; int32_t kind; } all[STORE_METRICS] = {
      [STORE_COMMITS] = {"commits", SKEIN_METRIC_COUNTER},
      [STORE_DENIED] = {"commits_denied", SKEIN_METRIC_COUNTER},
      [STORE_RECONNECTS] = {"reconnects", SKEIN_METRIC_COUNTER},
      [STORE_CONNECTIONS] = {"connections", SKEIN_METRIC_GAUGE}};
  if (!SKEIN_HAS(skein_host_metrics, self->metrics, define)) return;
  for (size_t i = 0; i < STORE_METRICS; i++) {
    const skein_bytes name = {(const uint8_t *)all[i].name, strlen(all[i].name)};
    self->series[i] = self->metrics->define(self->host_ctx, self->instance, all[i].kind, name, (skein_bytes){(const uint8_t *)"", 0});
  }
}

static void free_store(store *self) {
  if (self->state != NULL) self->driver->destroy(self->state);
  if (self->wake >= 0) close(self->wake);
  pthread_mutex_destroy(&self->lock);
  free(self->cancels);
  free(self);
}

/* The thread takes no signal: those of the process are not ours, and of a closed socket we are told by EPIPE. */
static bool start(store *self) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int code = pthread_create(&self->thread, NULL, store_run, self);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return code == 0;
}

static const void *service(const skein_host *host, const char *id) {
  return SKEIN_HAS(skein_host, host, get) ? host->get(host->ctx, id) : NULL;
}

static skein_status create(const skein_host *host, uint64_t instance, skein_bytes json, void **out, skein_bytes *why) {
  static _Thread_local char text[MOST_WHY];
  store_config config = {.host = service(host, SKEIN_HOST_CONFIG), .host_ctx = host == NULL ? NULL : host->ctx,
                         .instance = instance, .why = text};
  text[0] = 0;
  skein_status status = SKEIN_FAILED;
  store *self = calloc(1, sizeof *self);
  if (self != NULL) {
    self->driver = the_driver;
    self->host_ctx = config.host_ctx;
    self->instance = instance;
    self->async = service(host, SKEIN_HOST_ASYNC);
    self->log = service(host, SKEIN_HOST_LOG);
    self->metrics = service(host, SKEIN_HOST_METRICS);
    self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&self->lock, NULL);
    if (!SKEIN_HAS(skein_host_async, self->async, complete)) {
      store_config_problem(&config, "the host has no skein.host.async/1");
      status = SKEIN_UNSUPPORTED;
    } else if (self->wake >= 0) {
      if (store_config_open(&config, json)) self->state = self->driver->create(self, &config);
      const bool is_good = store_config_close(&config);
      if (!is_good) status = SKEIN_BAD_CONFIG;
      define_metrics(self);
      if (is_good && self->state != NULL && start(self)) {
        *out = self;
        return SKEIN_OK;
      }
    }
    free_store(self);
  }
  store_config_problem(&config, "there is no memory, descriptor or thread for one more instance");
  *why = (skein_bytes){(const uint8_t *)text, strlen(text)};
  return status;
}

static void destroy(void *raw) {
  store *self = raw;
  pthread_mutex_lock(&self->lock);
  self->is_stopping = true;
  store_wake(self);
  pthread_mutex_unlock(&self->lock);
  pthread_join(self->thread, NULL);
  free_store(self);
}

static const skein_offset_store table = {
    .size = sizeof(skein_offset_store),
    .ops = {.create = create, .quiesce = store_quiesce, .destroy = destroy},
    .commit = store_commit,
    .fetch = store_fetch,
    .scan = store_scan,
    .remove = store_remove,
    .cancel = store_cancel,
};

static const void *get(const char *kind_id) { return strcmp(kind_id, SKEIN_OFFSET_STORE) == 0 ? &table : NULL; }

const skein_plugin *store_plugin(const store_driver *driver) {
  static skein_plugin plugin = {.size = sizeof(skein_plugin), .abi_minor = SKEIN_ABI_MINOR, .get = get};
  the_driver = driver;
  plugin.id = driver->id;
  plugin.version = driver->version;
  return &plugin;
}
