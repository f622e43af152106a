/* Breaks: store.scan. A page is as long as it likes. */
#define PLUGIN_ID "bad.endless-pages"
#define PAGE_END(count, limit) ((count) > (limit))
#include "offset_store.h"
