#define _GNU_SOURCE
#include "skein_crumbs.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAGIC 0x31425243u /* "CRB1" */

typedef struct {
  char sha256[64];
  char name[144];
} image_entry;

typedef struct {
  _Atomic uint32_t image; /* 0: not in a plug-in */
  uint32_t reserved;
  uint64_t topic_high, topic_low;
  _Atomic int64_t start_ns;
  uint64_t unused[4];
} slot;

typedef struct {
  uint32_t magic;
  uint32_t images; /* entries in use */
  _Atomic int32_t mark;
  _Atomic int32_t marked_slot; /* index + 1 */
  uint64_t unused[6];
  slot slots[SKEIN_CRUMB_SLOTS];
  image_entry table[SKEIN_CRUMB_IMAGES];
} page;

_Static_assert(sizeof(slot) == 64, "a slot is a cache line");
_Static_assert(sizeof(page) == 64 + 64 * SKEIN_CRUMB_SLOTS + 208 * SKEIN_CRUMB_IMAGES, "the byte table of the docs");

static page *current;
static slot spare; /* threads beyond the last slot write here: nobody reads it */
static _Atomic uint32_t next_slot;
static _Thread_local slot *mine;

/* A thread's slot is free again when the thread ends. */
static _Atomic uint8_t taken[SKEIN_CRUMB_SLOTS];
static pthread_key_t at_exit;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void leave(void *raw) {
  slot *s = raw;
  if (!current || s == &spare) return;
  atomic_store(&s->image, 0);
  atomic_store(&taken[s - current->slots], 0);
}
static void make_key(void) { pthread_key_create(&at_exit, leave); }

static slot *take(void) {
  pthread_once(&once, make_key);
  slot *found = &spare;
  for (uint32_t i = 0; current && i < SKEIN_CRUMB_SLOTS; i++) {
    uint32_t at = atomic_fetch_add(&next_slot, 1) % SKEIN_CRUMB_SLOTS;
    uint8_t was = 0;
    if (atomic_compare_exchange_strong(&taken[at], &was, 1)) {
      found = &current->slots[at];
      break;
    }
  }
  /* A plug-in that overruns its stack is caught too: the handler needs another one. */
  stack_t alternative;
  if (sigaltstack(NULL, &alternative) == 0 && (alternative.ss_flags & SS_DISABLE)) {
    alternative = (stack_t){.ss_sp = malloc(32768), .ss_size = 32768};
    if (alternative.ss_sp) sigaltstack(&alternative, NULL);
  }
  mine = found;
  pthread_setspecific(at_exit, found);
  return found;
}

int skein_crumbs_open(const char *path) {
  if (current) return EALREADY;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno;
  if (ftruncate(fd, 0) != 0 || ftruncate(fd, sizeof(page)) != 0) {
    int code = errno;
    close(fd);
    return code;
  }
  /* Allocated now: a full disk must not become a SIGBUS in the middle of a batch. */
  int code = posix_fallocate(fd, 0, sizeof(page));
  void *mapped = code == 0 ? mmap(NULL, sizeof(page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
  if (code == 0 && mapped == MAP_FAILED) code = errno;
  close(fd);
  if (code != 0) return code;
  page *p = mapped;
  p->magic = MAGIC;
  current = p;
  return 0;
}

uint32_t skein_crumbs_name(const char *sha256, const char *name) {
  if (!current) return 0;
  for (uint32_t i = 0; i < current->images; i++)
    if (strncmp(current->table[i].sha256, sha256, sizeof current->table[i].sha256) == 0) return i + 1;
  if (current->images >= SKEIN_CRUMB_IMAGES) return 0;
  image_entry *entry = &current->table[current->images];
  strncpy(entry->sha256, sha256, sizeof entry->sha256);
  strncpy(entry->name, name, sizeof entry->name - 1);
  atomic_thread_fence(memory_order_release);
  return ++current->images;
}

void skein_crumbs_set(uint32_t image, uint64_t topic_high, uint64_t topic_low, int64_t now_ns) {
  slot *s = mine ? mine : take();
  s->topic_high = topic_high;
  s->topic_low = topic_low;
  atomic_store_explicit(&s->start_ns, now_ns, memory_order_relaxed);
  atomic_store_explicit(&s->image, image, memory_order_release);
}

void skein_crumbs_clear(void) {
  if (mine) atomic_store_explicit(&mine->image, 0, memory_order_release);
}

static int copy(const page *p, uint32_t index, skein_crumb *out) {
  const slot *s = &p->slots[index];
  uint32_t image = atomic_load_explicit(&s->image, memory_order_acquire);
  if (image == 0 || image > SKEIN_CRUMB_IMAGES) return 0;
  const image_entry *entry = &p->table[image - 1];
  memset(out, 0, sizeof *out);
  memcpy(out->sha256, entry->sha256, sizeof entry->sha256);
  memcpy(out->name, entry->name, sizeof out->name - 1);
  snprintf(out->topic, sizeof out->topic, "%016llx%016llx", (unsigned long long)s->topic_high,
           (unsigned long long)s->topic_low);
  out->image = image;
  out->start_ns = atomic_load_explicit(&s->start_ns, memory_order_relaxed);
  return 1;
}

int skein_crumbs_oldest(skein_crumb *out) {
  if (!current) return 0;
  int found = 0;
  skein_crumb one;
  for (uint32_t i = 0; i < SKEIN_CRUMB_SLOTS; i++)
    if (copy(current, i, &one) && (!found || one.start_ns < out->start_ns)) {
      *out = one;
      found = 1;
    }
  return found;
}

void skein_crumbs_mark_hang(const skein_crumb *crumb) {
  if (!current) return;
  for (uint32_t i = 0; i < SKEIN_CRUMB_SLOTS; i++)
    if (atomic_load(&current->slots[i].image) == crumb->image &&
        atomic_load(&current->slots[i].start_ns) == crumb->start_ns) {
      atomic_store(&current->marked_slot, (int32_t)i + 1);
      atomic_store(&current->mark, -1);
      return;
    }
}

static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
enum { FATAL = sizeof fatal / sizeof fatal[0] };
static struct sigaction earlier[FATAL];

static void on_fatal(int number, siginfo_t *info, void *context) {
  (void)info;
  (void)context;
  slot *s = mine;
  if (current && s && s != &spare && atomic_load(&s->image) != 0) {
    int32_t none = 0;
    if (atomic_compare_exchange_strong(&current->mark, &none, number))
      atomic_store(&current->marked_slot, (int32_t)(s - current->slots) + 1);
  }
  /* As it would have been without us. A fault of the processor happens again when we return; others are raised. */
  for (int i = 0; i < FATAL; i++)
    if (fatal[i] == number) sigaction(number, &earlier[i], NULL);
  if (number == SIGABRT || number == SIGSYS || (info && info->si_code <= 0)) raise(number);
}

void skein_crumbs_catch_signals(void) {
  static _Atomic int done;
  if (atomic_exchange(&done, 1)) return;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fatal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < FATAL; i++) sigaction(fatal[i], &action, &earlier[i]);
}

int skein_crumbs_read(const char *path, int *mark, skein_crumb *out, int capacity) {
  *mark = 0;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -errno;
  page *p = calloc(1, sizeof(page));
  if (!p) {
    close(fd);
    return -ENOMEM;
  }
  size_t have = 0;
  while (have < sizeof(page)) {
    ssize_t n = read(fd, (char *)p + have, sizeof(page) - have);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    have += (size_t)n;
  }
  close(fd);
  int count = 0;
  if (have == sizeof(page) && p->magic == MAGIC) {
    *mark = atomic_load(&p->mark);
    int32_t marked = atomic_load(&p->marked_slot);
    if (marked < 1 || marked > SKEIN_CRUMB_SLOTS) marked = 0;
    if (marked && count < capacity && copy(p, (uint32_t)marked - 1, &out[count])) count++;
    if (count == 0) *mark = 0;
    for (uint32_t i = 0; i < SKEIN_CRUMB_SLOTS; i++)
      if ((int32_t)i + 1 != marked && count < capacity && copy(p, i, &out[count])) count++;
  }
  free(p);
  return count;
}
