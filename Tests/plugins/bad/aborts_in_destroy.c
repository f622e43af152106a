/* Breaks: load.create. destroy frees twice. */
#define PLUGIN_ID "bad.aborts-in-destroy"
#define ON_DESTROY(self) (free(self), abort())
#include "partitioner.h"
