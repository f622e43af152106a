/* Breaks: process.state. Walks off to another folder, and sets a variable. */
#define _GNU_SOURCE
#include <unistd.h>
#define PLUGIN_ID "bad.changes-folder"
#define ON_CREATE(self) ((void)!chdir("/tmp"), setenv("TZ", "UTC", 1))
#include "partitioner.h"
