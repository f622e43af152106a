/* Breaks: binary.elf. There is no entry. */
#define PLUGIN_ID "bad.no-entry"
#define OWN_ENTRY
#include "partitioner.h"
const void *nobody_calls(void);
const void *nobody_calls(void) { return &plugin; }
