/* Breaks: load.entry. A constructor crashes while the file is mapped. */
#define PLUGIN_ID "bad.crash-at-load"
#include "partitioner.h"
__attribute__((constructor)) static void begin(void) { *(volatile int *)8 = 1; }
