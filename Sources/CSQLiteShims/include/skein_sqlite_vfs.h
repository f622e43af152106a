// An SQLite VFS whose every file operation is a callback, so that SQLite's files go through
// Skein's own Disk seam (architecture.md: DiskIO makes the only file syscalls, SQLite's too).
//
// Only what one exclusive connection in WAL mode needs: no shared memory (locking_mode=EXCLUSIVE
// keeps the WAL index in the heap), no advisory locks (the store holds Disk.lock), no temporary
// files (temp_store=MEMORY; an unnamed file is refused).
#ifndef SKEIN_SQLITE_VFS_H
#define SKEIN_SQLITE_VFS_H

#include <stdint.h>

#pragma clang assume_nonnull begin

// Every int result is an SQLite result code unless it says otherwise.
typedef struct skein_vfs_callbacks {
  // Opens `name`; `flags` are SQLITE_OPEN_*. On success stores a handle for the calls below.
  int (*open)(void *context, const char *name, int flags, void *_Nullable *_Nonnull file);
  // Ends a handle; called once for each successful open.
  void (*close)(void *file);
  // Reads up to `count` bytes; stores how many there were. The shim clears the rest.
  int (*read)(void *file, void *buffer, int count, int64_t offset, int *got);
  int (*write)(void *file, const void *bytes, int count, int64_t offset);
  int (*truncate)(void *file, int64_t size);
  int (*sync)(void *file);
  int (*size)(void *file, int64_t *size);
  int (*remove)(void *context, const char *name, int sync_directory);
  int (*exists)(void *context, const char *name, int *result);
  // 64 random bits.
  uint64_t (*random)(void *context);
  // Milliseconds since 1970.
  int64_t (*wall_milliseconds)(void *context);
} skein_vfs_callbacks;

// SQLite's extended codes, which are macros that Swift does not see.
extern const int skein_ioerr_read, skein_ioerr_write, skein_ioerr_truncate, skein_ioerr_fsync,
    skein_ioerr_fstat, skein_ioerr_delete, skein_ioerr_delete_noent, skein_ioerr_access;

// A registered VFS; its name for sqlite3_open_v2 is skein_vfs_name().
typedef struct skein_vfs skein_vfs;

// Registers a VFS under a process-unique name. `context` must outlive it. NULL without memory.
skein_vfs *_Nullable skein_vfs_register(const skein_vfs_callbacks *callbacks, void *context);
const char *skein_vfs_name(const skein_vfs *vfs);
// Only after every connection that used it is closed.
void skein_vfs_unregister(skein_vfs *vfs);

#pragma clang assume_nonnull end

#endif
