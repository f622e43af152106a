/* Breaks: auth.wrong. Anybody who says anything is let in. */
#define PLUGIN_ID "bad.lets-all-in"
#define ACCEPT(mechanism, message) ((message).len > 0)
#include "authenticator.h"
