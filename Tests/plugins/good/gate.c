/* Keeps every promise: what the bad authenticators would be without their one fault. */
#define PLUGIN_ID "good.gate"
#include "../bad/authenticator.h"
