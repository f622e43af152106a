/* Breaks: load.churn. destroy closes nothing. */
#define _GNU_SOURCE
#include <fcntl.h>
#define PLUGIN_ID "bad.leaks-descriptors"
#define ON_CREATE(self) (void)!open("/dev/null", O_RDONLY | O_CLOEXEC)
#include "partitioner.h"
