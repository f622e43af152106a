/* Breaks: binary.relocations. LINK: -Wl,-z,nodelete -fno-pic -mcmodel=large -Wl,-z,notext */
#define PLUGIN_ID "bad.text-relocations"
#include "partitioner.h"
