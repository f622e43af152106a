/* Breaks: load.identity. The manifest says pure, the table does not. */
#define PLUGIN_ID "bad.not-pure-after-all"
#define PLUGIN_FLAGS 0
#include "partitioner.h"
