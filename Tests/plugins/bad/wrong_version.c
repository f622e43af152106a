/* Breaks: load.identity. The manifest says 1.0.0. */
#define PLUGIN_ID "bad.wrong-version"
#define PLUGIN_VERSION "1.0.1"
#include "partitioner.h"
