/* Breaks: process.children. A worker process, left to itself. */
#define _GNU_SOURCE
#include <signal.h>
#include <unistd.h>
#define PLUGIN_ID "bad.forks"
static void split(void) {
  static int done;
  if (done++) return;
  if (fork() == 0) {
    setsid();
    sleep(30);
    _exit(0);
  }
}
#define BEFORE_BATCH(self, topic, records, out) split()
#include "partitioner.h"
