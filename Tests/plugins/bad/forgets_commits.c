/* Breaks: store.read-your-write. Of a commit of several offsets only the first is kept. */
#define PLUGIN_ID "bad.forgets-commits"
#define STORES(index) ((index) == 0)
#include "offset_store.h"
