/* Breaks: load.identity. The file calls itself something else. MANIFEST-ID: bad.wrong-id */
#define PLUGIN_ID "bad.another-id"
#include "partitioner.h"
