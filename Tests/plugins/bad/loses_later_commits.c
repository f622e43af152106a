/* Breaks: store.commits. Every hundredth commit of an offset is acknowledged and forgotten. */
#define PLUGIN_ID "bad.loses-later-commits"
#define TAKES_BACK(entry, offset) ((offset) < 100 || (offset) % 100 != 0 || (offset) > 1000)
#include "offset_store.h"
