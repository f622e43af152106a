// What unsynced.so leaves in its state folder, and unsynced-rollback reads.
//
//   u-<inode>      undo log of one file: a header page, then records, oldest first
//   ref-<inode>    hard link to that file, so that it is found whatever its name, and its number is
//                  not used again
//   names          log of folder changes, oldest first
//   stash-<number> hard link to a file that an unlink or rename took away
//
// Everything is written with plain system calls or shared memory maps, which survive SIGKILL. A record
// is complete before the change that it can undo begins, so an incomplete last record undoes nothing.
#pragma once
#include <limits.h>
#include <stdint.h>

#define UNSYNCED_MAGIC 0x31434e59534e5531ull
enum { UNSYNCED_HEADER = 4096 };

// The first page of an undo log, mapped shared.
struct undo_header {
  uint64_t magic;
  uint64_t inode;
  // Records before this place are covered by a sync. Beyond the file's end: no record.
  _Atomic uint64_t start;
};

// Followed by `length` old bytes and a copy of `seal`.
struct undo_record {
  uint64_t magic;
  int64_t offset;    // where the old bytes belong
  int64_t old_size;  // of the file, before the change
  uint64_t length;
  uint64_t seal;     // differs from record to record, so that a torn end is told
};

enum name_kind { NAME_CREATE = 1, NAME_MKDIR, NAME_UNLINK, NAME_RMDIR, NAME_RENAME };

// Fixed size, so that one byte of it can be overwritten in place.
struct name_record {
  uint64_t magic;
  uint32_t kind;
  uint32_t mode;       // of a removed folder
  uint64_t number;     // of the stash, 0 if none
  uint64_t inode;      // of what was renamed
  uint64_t parent[2];  // inodes of the folders; a rename within one has it twice
  uint8_t durable[2];  // set when that folder was synced
  uint8_t pad[6];
  char path[PATH_MAX];
  char target[PATH_MAX];  // of a rename
  uint64_t seal;
};
