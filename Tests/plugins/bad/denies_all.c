/* Breaks: auth.accepts. Nobody is good enough. */
#define PLUGIN_ID "bad.denies-all"
#define ACCEPT(mechanism, message) 0
#include "authenticator.h"
