/* Breaks: process.state. Takes SIGTERM for itself. */
#define _GNU_SOURCE
#include <signal.h>
#define PLUGIN_ID "bad.handles-signals"
#define ON_CREATE(self) signal(SIGTERM, SIG_IGN)
#include "partitioner.h"
