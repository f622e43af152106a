/* Breaks: calls.basic. Calls are begun and forgotten. */
#define PLUGIN_ID "bad.never-completes"
#define ON_STEP(self, call, deadline, status, result) (void)(result)
#include "authenticator.h"
