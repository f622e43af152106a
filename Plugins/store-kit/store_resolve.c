/* Names are resolved by the C library's own thread (getaddrinfo_a): a slow name server must not hold the loop, which
 * keeps the deadlines of all calls. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "store.h"

struct store_lookup {
  char host[256];
  bool is_numeric;
  struct gaicb request;
  struct addrinfo hints;
  struct gaicb *list[1];
};

static bool is_numeric(const char *host) {
  unsigned char address[sizeof(struct in6_addr)];
  return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

store_lookup *store_lookup_begin(const char *host) {
  store_lookup *lookup = calloc(1, sizeof *lookup);
  if (lookup == NULL) return NULL;
  snprintf(lookup->host, sizeof lookup->host, "%s", host);
  lookup->is_numeric = is_numeric(host);
  if (lookup->is_numeric) return lookup;
  lookup->hints.ai_socktype = SOCK_STREAM;
  lookup->request.ar_name = lookup->host;
  lookup->request.ar_request = &lookup->hints;
  lookup->list[0] = &lookup->request;
  if (getaddrinfo_a(GAI_NOWAIT, lookup->list, 1, NULL) != 0) {
    free(lookup);
    return NULL;
  }
  return lookup;
}

int store_lookup_look(store_lookup *lookup, store_addresses *out, char *why) {
  out->count = 0;
  if (lookup->is_numeric) {
    snprintf(out->text[0], sizeof out->text[0], "%.63s", lookup->host);
    out->count = 1;
    return 0;
  }
  const int code = gai_error(&lookup->request);
  if (code == EAI_INPROGRESS) return 1;
  for (const struct addrinfo *at = code == 0 ? lookup->request.ar_result : NULL; at != NULL; at = at->ai_next) {
    if (out->count == STORE_MOST_ADDRESSES) break;
    if (getnameinfo(at->ai_addr, at->ai_addrlen, out->text[out->count], sizeof out->text[0], NULL, 0, NI_NUMERICHOST) == 0)
      out->count++;
  }
  if (out->count > 0) return 0;
  snprintf(why, 256, "the name %.100s cannot be resolved: %.100s", lookup->host, gai_strerror(code));
  return 2;
}

void store_lookup_end(store_lookup *lookup) {
  if (lookup == NULL) return;
  if (!lookup->is_numeric) {
    /* A request that runs cannot be called back; its memory is the library's then, and stays (once per lost name server). */
    if (gai_error(&lookup->request) == EAI_INPROGRESS && gai_cancel(&lookup->request) != EAI_CANCELED &&
        gai_error(&lookup->request) == EAI_INPROGRESS)
      return;
    if (lookup->request.ar_result != NULL) freeaddrinfo(lookup->request.ar_result);
  }
  free(lookup);
}
