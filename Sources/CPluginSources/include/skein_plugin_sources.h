#ifndef SKEIN_PLUGIN_SOURCES_H
#define SKEIN_PLUGIN_SOURCES_H

#include <stddef.h>

/// A file of this repository as it was when the program was built. The bytes are UTF-8 text, not ended by NUL, and
/// live as long as the program.
typedef struct {
  /// From the repository's root, such as `Plugins/Kit/exports.map`.
  const char *path;
  const unsigned char *bytes;
  size_t size;
} skein_plugin_source;

/// What `skein plugin new` writes: the ABI's header, the kit, its messages in C, the templates; sorted by path.
/// NULL beyond the last one. Any thread.
const skein_plugin_source *skein_plugin_source_at(size_t index);

#endif
