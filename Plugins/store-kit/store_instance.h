/* What an instance is made of: for store_loop.c and store_plugin.c alone. */
#ifndef SKEIN_STORE_INSTANCE_H
#define SKEIN_STORE_INSTANCE_H

#include <pthread.h>

#include "store.h"

struct store {
  const store_driver *driver;
  void *state; /* the driver's */
  void *host_ctx;
  uint64_t instance;
  const skein_host_async *async;
  const skein_host_log *log;
  const skein_host_metrics *metrics;
  uint64_t series[STORE_METRICS];
  pthread_t thread;
  int wake; /* eventfd */

  pthread_mutex_t lock; /* for what follows; held for a few instructions */
  store_call *inbox_first, *inbox_last;
  size_t calls; /* open, the inbox included */
  skein_call *cancels;
  size_t cancel_count, cancel_capacity;
  skein_call quiesce;
  bool is_stopping, is_awake; /* is_awake: `wake` is written and not yet read */

  store_call *open; /* the loop's own */
};

/* With the lock held: makes the loop look at its inbox. */
void store_wake(store *self);
/* The thread. */
void *store_run(void *self);

/* The table's functions; [any] but quiesce. */
void store_commit(void *self, skein_call call, uint64_t deadline, skein_bytes bytes);
void store_fetch(void *self, skein_call call, uint64_t deadline, skein_bytes bytes);
void store_scan(void *self, skein_call call, uint64_t deadline, skein_bytes bytes);
void store_remove(void *self, skein_call call, uint64_t deadline, skein_bytes bytes);
void store_cancel(void *self, skein_call call);
void store_quiesce(void *self, skein_call done);

#endif
