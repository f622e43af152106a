/* Breaks: binary.stack. LINK: -Wl,-z,nodelete -Wl,-z,execstack */
#define PLUGIN_ID "bad.executable-stack"
#include "partitioner.h"
