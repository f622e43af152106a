/* Breaks: store.fence. Whoever commits last is right. */
#define PLUGIN_ID "bad.takes-stale-epochs"
#define IS_STALE(stored, commit) 0
#include "offset_store.h"
