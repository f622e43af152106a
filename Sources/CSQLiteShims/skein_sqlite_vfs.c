#include "skein_sqlite_vfs.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kMaxPath = 1024, kSectorSize = 4096 };

const int skein_ioerr_read = SQLITE_IOERR_READ;
const int skein_ioerr_write = SQLITE_IOERR_WRITE;
const int skein_ioerr_truncate = SQLITE_IOERR_TRUNCATE;
const int skein_ioerr_fsync = SQLITE_IOERR_FSYNC;
const int skein_ioerr_fstat = SQLITE_IOERR_FSTAT;
const int skein_ioerr_delete = SQLITE_IOERR_DELETE;
const int skein_ioerr_delete_noent = SQLITE_IOERR_DELETE_NOENT;
const int skein_ioerr_access = SQLITE_IOERR_ACCESS;

struct skein_vfs {
  sqlite3_vfs base;  // First, so that SQLite's pointer is ours.
  skein_vfs_callbacks callbacks;
  void *context;
  char name[40];
};

typedef struct {
  sqlite3_file base;  // First, for the same reason.
  const skein_vfs_callbacks *callbacks;
  void *handle;
} skein_file;

// MARK: Files

static int file_close(sqlite3_file *f) {
  skein_file *file = (skein_file *)f;
  if (file->handle) file->callbacks->close(file->handle);
  file->handle = NULL;
  return SQLITE_OK;
}

static int file_read(sqlite3_file *f, void *buffer, int count, sqlite3_int64 offset) {
  skein_file *file = (skein_file *)f;
  int got = 0;
  int rc = file->callbacks->read(file->handle, buffer, count, offset, &got);
  if (rc != SQLITE_OK) return rc;
  if (got >= count) return SQLITE_OK;
  // SQLite's contract: a short read clears what it could not fill.
  memset((char *)buffer + got, 0, (size_t)(count - got));
  return SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *f, const void *bytes, int count, sqlite3_int64 offset) {
  skein_file *file = (skein_file *)f;
  return file->callbacks->write(file->handle, bytes, count, offset);
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size) {
  skein_file *file = (skein_file *)f;
  return file->callbacks->truncate(file->handle, size);
}

static int file_sync(sqlite3_file *f, int flags) {
  (void)flags;
  skein_file *file = (skein_file *)f;
  return file->callbacks->sync(file->handle);
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size) {
  skein_file *file = (skein_file *)f;
  int64_t bytes = 0;
  int rc = file->callbacks->size(file->handle, &bytes);
  *size = bytes;
  return rc;
}

// One connection, and the store's own Disk.lock against other openers: nothing to do here.
static int file_lock(sqlite3_file *f, int level) { (void)f; (void)level; return SQLITE_OK; }
static int file_unlock(sqlite3_file *f, int level) { (void)f; (void)level; return SQLITE_OK; }
static int file_check_reserved(sqlite3_file *f, int *result) { (void)f; *result = 0; return SQLITE_OK; }
static int file_control(sqlite3_file *f, int operation, void *argument) {
  (void)f; (void)operation; (void)argument;
  return SQLITE_NOTFOUND;
}
static int file_sector_size(sqlite3_file *f) { (void)f; return kSectorSize; }
// What SQLite assumes of Linux disks as well: a torn write does not damage bytes outside it.
static int file_characteristics(sqlite3_file *f) { (void)f; return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

static const sqlite3_io_methods kFileMethods = {
    .iVersion = 1,  // Version 1 has no shared memory: WAL works in exclusive mode only.
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

// MARK: Names

static int vfs_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out_flags) {
  skein_vfs *vfs = (skein_vfs *)v;
  skein_file *file = (skein_file *)f;
  memset(file, 0, sizeof *file);
  if (!name) return SQLITE_CANTOPEN;
  int rc = vfs->callbacks.open(vfs->context, name, flags, &file->handle);
  if (rc != SQLITE_OK) return rc;
  file->callbacks = &vfs->callbacks;
  file->base.pMethods = &kFileMethods;
  if (out_flags) *out_flags = flags;
  return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync_directory) {
  skein_vfs *vfs = (skein_vfs *)v;
  return vfs->callbacks.remove(vfs->context, name, sync_directory);
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *result) {
  (void)flags;
  skein_vfs *vfs = (skein_vfs *)v;
  return vfs->callbacks.exists(vfs->context, name, result);
}

static int vfs_full_pathname(sqlite3_vfs *v, const char *name, int capacity, char *out) {
  (void)v;
  size_t length = strlen(name);
  if (length + 1 > (size_t)capacity) return SQLITE_CANTOPEN;
  memcpy(out, name, length + 1);
  return SQLITE_OK;
}

// MARK: The rest of the world

static int vfs_randomness(sqlite3_vfs *v, int count, char *out) {
  skein_vfs *vfs = (skein_vfs *)v;
  for (int at = 0; at < count; at += 8) {
    uint64_t word = vfs->callbacks.random(vfs->context);
    size_t part = count - at < 8 ? (size_t)(count - at) : 8;
    memcpy(out + at, &word, part);
  }
  return count;
}

static int vfs_current_time_64(sqlite3_vfs *v, sqlite3_int64 *out) {
  skein_vfs *vfs = (skein_vfs *)v;
  // SQLite counts milliseconds from the Julian epoch; 1970 began at 2440587.5 days.
  *out = 210866760000000LL + vfs->callbacks.wall_milliseconds(vfs->context);
  return SQLITE_OK;
}

static int vfs_current_time(sqlite3_vfs *v, double *out) {
  sqlite3_int64 milliseconds = 0;
  vfs_current_time_64(v, &milliseconds);
  *out = (double)milliseconds / 86400000.0;
  return SQLITE_OK;
}

// There is no other connection to wait for.
static int vfs_sleep(sqlite3_vfs *v, int microseconds) { (void)v; (void)microseconds; return 0; }
static int vfs_last_error(sqlite3_vfs *v, int capacity, char *out) {
  (void)v;
  if (capacity > 0) out[0] = 0;
  return 0;
}

skein_vfs *skein_vfs_register(const skein_vfs_callbacks *callbacks, void *context) {
  static atomic_ulong serial;
  skein_vfs *vfs = calloc(1, sizeof *vfs);
  if (!vfs) return NULL;
  vfs->callbacks = *callbacks;
  vfs->context = context;
  snprintf(vfs->name, sizeof vfs->name, "skein-%lu", atomic_fetch_add(&serial, 1));
  vfs->base = (sqlite3_vfs){
      .iVersion = 2,
      .szOsFile = sizeof(skein_file),
      .mxPathname = kMaxPath,
      .zName = vfs->name,
      .pAppData = vfs,
      .xOpen = vfs_open,
      .xDelete = vfs_delete,
      .xAccess = vfs_access,
      .xFullPathname = vfs_full_pathname,
      .xRandomness = vfs_randomness,
      .xSleep = vfs_sleep,
      .xCurrentTime = vfs_current_time,
      .xGetLastError = vfs_last_error,
      .xCurrentTimeInt64 = vfs_current_time_64,
  };
  if (sqlite3_vfs_register(&vfs->base, 0) != SQLITE_OK) {
    free(vfs);
    return NULL;
  }
  return vfs;
}

const char *skein_vfs_name(const skein_vfs *vfs) { return vfs->name; }

void skein_vfs_unregister(skein_vfs *vfs) {
  sqlite3_vfs_unregister(&vfs->base);
  free(vfs);
}
