/* Breaks: auth.truncated. Compares as many bytes as the client sent. */
#define PLUGIN_ID "bad.lets-prefixes-in"
#define ACCEPT(mechanism, message) \
  (equals(mechanism, "bearer") && (message).len > 0 && (message).len <= strlen(SECRET) && memcmp((message).ptr, SECRET, (message).len) == 0)
#include "authenticator.h"
