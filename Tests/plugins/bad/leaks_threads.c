/* Breaks: load.churn. Each instance leaves a thread behind. */
#define _GNU_SOURCE
#include <pthread.h>
#include <unistd.h>
#define PLUGIN_ID "bad.leaks-threads"
static void *sleeps(void *nothing) {
  for (;;) pause();
  return nothing;
}
static void start(void) {
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  if (pthread_create(&thread, &small, sleeps, 0) == 0) pthread_detach(thread);
  pthread_attr_destroy(&small);
}
#define ON_CREATE(self) start()
#include "partitioner.h"
