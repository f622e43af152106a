// The layout of the ABI, pinned: any other size or offset is another ABI. See Docs/formats/plugin-abi.md.
#include "skein_plugin.h"

_Static_assert(sizeof(void *) == 8, "Skein plug-ins are 64-bit");
