/* Breaks: binary.abi. Nothing in the file says for which ABI it was built. */
#define PLUGIN_ID "bad.no-mark"
#define NO_MARK
#include "partitioner.h"
