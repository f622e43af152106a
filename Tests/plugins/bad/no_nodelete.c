/* Breaks: binary.nodelete. Linked without -z nodelete. LINK: -Wl,-z,now */
#define PLUGIN_ID "bad.no-nodelete"
#include "partitioner.h"
