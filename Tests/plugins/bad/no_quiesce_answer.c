/* Breaks: async.quiesce. quiesce is never answered. */
#define PLUGIN_ID "bad.no-quiesce-answer"
#define ON_QUIESCE(self, done) (void)(done)
#include "authenticator.h"
