/* Breaks: async.cancel. cancel ends calls that are over. */
#define PLUGIN_ID "bad.completes-twice-on-cancel"
#define ON_CANCEL(self, call) complete(self, call, SKEIN_CANCELLED, (skein_bytes){0, 0})
#include "authenticator.h"
