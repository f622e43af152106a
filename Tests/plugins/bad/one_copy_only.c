/* Breaks: load.second-copy. A name that the whole machine shares. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#define PLUGIN_ID "bad.one-copy-only"
#define OWN_ENTRY
#include "partitioner.h"
SKEIN_ENTRY const skein_plugin *skein_plugin_entry(const skein_host *host) {
  struct sockaddr_un name = {AF_UNIX, {0}};
  int lock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  (void)host;
  snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "skein-bad-one-copy-%d", (int)getpid());
  return bind(lock, (struct sockaddr *)&name, sizeof name) == 0 ? &plugin : 0;
}
