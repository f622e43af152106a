/* Names are resolved in a thread of their own: a slow name server must not hold the loop, which keeps the deadlines of all
 * calls, and nobody can call getaddrinfo back. Whoever lets go last frees: the thread may outlive the lookup. (Not by
 * getaddrinfo_a: its threads stay for a second, and what it is at cannot be freed.) */
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "store.h"

enum { STACK_BYTES = 512 << 10 };

struct store_lookup {
  char host[256];
  atomic_int owners;   /* the loop, the thread */
  atomic_bool is_done; /* what follows is there, and is written no more */
  int code;
  store_addresses found;
};

static void let_go(store_lookup *lookup) {
  if (atomic_fetch_sub(&lookup->owners, 1) == 1) free(lookup);
}

static bool is_numeric(const char *host) {
  unsigned char address[sizeof(struct in6_addr)];
  return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static void *resolve(void *raw) {
  store_lookup *lookup = raw;
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *list = NULL;
  lookup->code = getaddrinfo(lookup->host, NULL, &hints, &list);
  store_addresses *found = &lookup->found;
  for (const struct addrinfo *at = lookup->code == 0 ? list : NULL; at != NULL && found->count < STORE_MOST_ADDRESSES; at = at->ai_next)
    if (getnameinfo(at->ai_addr, at->ai_addrlen, found->text[found->count], sizeof found->text[0], NULL, 0, NI_NUMERICHOST) == 0)
      found->count++;
  if (list != NULL) freeaddrinfo(list);
  atomic_store(&lookup->is_done, true);
  let_go(lookup);
  return NULL;
}

static bool start(store_lookup *lookup) {
  pthread_attr_t attributes;
  pthread_t thread;
  if (pthread_attr_init(&attributes) != 0) return false;
  const bool is_good = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                       pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0 &&
                       pthread_create(&thread, &attributes, resolve, lookup) == 0;
  pthread_attr_destroy(&attributes);
  return is_good;
}

store_lookup *store_lookup_begin(const char *host) {
  store_lookup *lookup = calloc(1, sizeof *lookup);
  if (lookup == NULL) return NULL;
  snprintf(lookup->host, sizeof lookup->host, "%s", host);
  atomic_init(&lookup->owners, 2);
  if (is_numeric(host)) {
    snprintf(lookup->found.text[0], sizeof lookup->found.text[0], "%.63s", host);
    lookup->found.count = 1;
    atomic_init(&lookup->owners, 1);
    atomic_init(&lookup->is_done, true);
  } else if (!start(lookup)) {
    free(lookup);
    return NULL;
  }
  return lookup;
}

int store_lookup_look(store_lookup *lookup, store_addresses *out, char *why) {
  out->count = 0;
  if (!atomic_load(&lookup->is_done)) return 1;
  *out = lookup->found;
  if (out->count > 0) return 0;
  snprintf(why, 256, "the name %.100s cannot be resolved: %.100s", lookup->host, gai_strerror(lookup->code));
  return 2;
}

void store_lookup_end(store_lookup *lookup) {
  if (lookup != NULL) let_go(lookup);
}
