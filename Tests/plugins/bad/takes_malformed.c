/* Breaks: store.malformed. What cannot be read is acknowledged. */
#define PLUGIN_ID "bad.takes-malformed"
#define MALFORMED SKEIN_OK
#include "offset_store.h"
