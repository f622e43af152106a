/* Breaks: binary.libc. The manifest promises a C library that the file does not load on. MANIFEST-LIBC: 2.1 */
#define PLUGIN_ID "bad.promises-older-libc"
#include "partitioner.h"
