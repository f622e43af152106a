/* Breaks: fuzz.inputs. A buffer of 1,000 bytes for what follows an 'x'. */
#define PLUGIN_ID "bad.crashes-on-input"
#include "skein_plugin.h"
static int32_t copies(skein_bytes key, int32_t count);
#define PLACE(self, key, count) copies(key, count)
#include "partitioner.h"
static int32_t copies(skein_bytes key, int32_t count) {
  if (key.ptr && key.len > 1000 && key.len < 4000 && key.ptr[0] < 128) abort();
  return fnv(key, count);
}
