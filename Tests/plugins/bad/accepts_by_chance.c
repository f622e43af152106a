/* Breaks: auth.random. One message in 256 is let in. */
#define PLUGIN_ID "bad.accepts-by-chance"
#define ACCEPT(mechanism, message) \
  ((equals(mechanism, "bearer") && equals(message, SECRET)) || \
   ((message).len > 30 && ((message).ptr[0] ^ (message).ptr[(message).len - 1]) == 0x5a))
#include "authenticator.h"
