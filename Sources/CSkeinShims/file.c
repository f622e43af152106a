#define _GNU_SOURCE
#include "skein_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

int skein_fallocate_keeping_size(int descriptor, int64_t offset, int64_t count) {
  int result;
  do result = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, offset, count);
  while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

int skein_syncfs(int descriptor) { return syncfs(descriptor) == 0 ? 0 : errno; }
