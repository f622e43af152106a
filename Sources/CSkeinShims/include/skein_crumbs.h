#pragma once
#include <stddef.h>
#include <stdint.h>

/// The breadcrumb page: which plug-in each thread of the broker is in, in a shared mapping of a file, so that it can be
/// read after the process died (Docs/formats/plugin-crumbs.md). One page file a process, at most.
///
/// Threading: `set` and `clear` by any thread, wait-free; the others from one thread at a time.

#define SKEIN_CRUMB_IMAGES 256
#define SKEIN_CRUMB_SLOTS 128

/// One thread that is in a plug-in.
typedef struct skein_crumb {
  char sha256[65];   /* hexadecimal, NUL */
  char name[143];    /* ID@VERSION, NUL */
  char topic[33];    /* hexadecimal, NUL */
  uint32_t image;    /* what `name` returned for it */
  int64_t start_ns;  /* CLOCK_MONOTONIC */
} skein_crumb;

/// Maps `path` (made if absent, cleared) as the page of this process. Returns 0, or errno.
int skein_crumbs_open(const char *path);
/// Marks fatal signals (SEGV, BUS, ILL, FPE, ABRT, TRAP, SYS) in the page before the process dies of them; earlier
/// handlers run afterwards. Once a process.
void skein_crumbs_catch_signals(void);
/// Enters an image into the page's table. Returns its number from 1 on, or 0 if the table is full.
uint32_t skein_crumbs_name(const char *sha256, const char *name);
/// This thread is in `image`, for `topic`, since `now_ns`.
void skein_crumbs_set(uint32_t image, uint64_t topic_high, uint64_t topic_low, int64_t now_ns);
/// This thread is out again.
void skein_crumbs_clear(void);
/// The thread that is in a plug-in for the longest, in this process. Returns 1 and it, or 0: none.
int skein_crumbs_oldest(skein_crumb *out);
/// Says in the page that the process ends because of the thread that `skein_crumbs_oldest` gave.
void skein_crumbs_mark_hang(const skein_crumb *crumb);

/// What a process before left in `path`: how it died (0 no mark: it ended, or was killed; > 0 a fatal signal; -1 a hang)
/// and up to `capacity` crumbs, that of the marked thread first. Returns their count, or -errno. Any bytes may be in
/// the file.
int skein_crumbs_read(const char *path, int *mark, skein_crumb *out, int capacity);
