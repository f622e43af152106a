/* Breaks: binary.abi. Built for a major that this host does not have. */
#define PLUGIN_ID "bad.wrong-abi"
#define NO_MARK
#include "partitioner.h"
__attribute__((section(".skein.abi"), used)) static const uint32_t mark[4] = {0x314e4b53u, 2u, 0u, 64u};
