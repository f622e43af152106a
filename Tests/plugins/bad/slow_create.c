/* Breaks: load.create. Takes 6 s to begin. */
#define _GNU_SOURCE
#include <unistd.h>
#define PLUGIN_ID "bad.slow-create"
#define ON_CREATE(self) sleep(6)
#include "partitioner.h"
