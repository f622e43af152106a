/* Breaks: store.remove. All groups of the tenant go together. */
#define PLUGIN_ID "bad.removes-too-much"
#define REMOVES(entry, asked) same((entry)->tenant, (asked)->tenant)
#include "offset_store.h"
