/* The Redis offset store: its parts. Everything runs in the store's thread but creating and destroying. */
#ifndef SKEIN_REDIS_H
#define SKEIN_REDIS_H

#include <openssl/types.h>

#include "store.h"

enum {
  RD_MOST_WHY = 512,
  RD_MOST_REPLY = 16 << 20,      /* bytes of one reply */
  RD_MOST_ELEMENTS = 200000,     /* of one reply */
  RD_MOST_AT_ONCE = 3500,        /* offsets that commit.lua writes by one command; more are a transaction of Redis */
};

/* ---- A socket with TLS; link.c ---- */

typedef struct rd_tls {
  const char *ca_file, *certificate_file, *key_file;
} rd_tls;

typedef struct rd_link rd_link;
typedef enum { RD_BUSY, RD_DONE, RD_FAILED } rd_progress;

/* Begins to connect. `tls` NULL: without; its texts must outlive the link. NULL: `why` (RD_MOST_WHY) says it. */
rd_link *rd_link_open(const char *host, const store_addresses *addresses, int port, const rd_tls *tls, char *why);
/* Connects and shakes hands; DONE: bytes may flow. */
rd_progress rd_link_connect(rd_link *link, char *why);
/* Reads what is there, at most `size`; 0: nothing now; -1: the end, or broken. */
long rd_link_read(rd_link *link, char *bytes, size_t size, char *why);
/* Writes what it can; -1: broken. */
long rd_link_write(rd_link *link, const char *bytes, size_t size, char *why);
int rd_link_descriptor(const rd_link *link);
/* What to poll for; `wants_out`: there is something to write. */
short rd_link_events(const rd_link *link, bool wants_out);
void rd_link_close(rd_link *link);

/* ---- Replies; replies.c ---- */

typedef enum { RD_TEXT, RD_STATUS, RD_ERROR, RD_NUMBER, RD_NIL, RD_ARRAY } rd_kind;
typedef struct rd_reply {
  rd_kind kind;
  char *text; /* with a NUL behind it; "" for numbers, nil and arrays */
  size_t length;
  long long number;
  struct rd_reply **items; /* none of them NULL */
  size_t count;
} rd_reply;

typedef struct rd_reader rd_reader;
rd_reader *rd_reader_make(void);
void rd_reader_free(rd_reader *reader);
/* False: more than a reply may have, malformed, or no memory. */
bool rd_reader_feed(rd_reader *reader, const char *bytes, size_t length);
/* The next whole reply, or NULL: not there yet. False: malformed. */
bool rd_reader_next(rd_reader *reader, rd_reply **reply);
void rd_reply_free(rd_reply *reply);

/* ---- Commands; commands.c ---- */

typedef enum { RD_COMMIT_SCRIPT, RD_PAGE_SCRIPT, RD_REMOVE_SCRIPT, RD_FORGET_SCRIPT, RD_SCRIPTS } rd_script;

typedef struct rd_settings {
  char *host, *user, *password, *ca_file, *certificate_file, *key_file, *prefix;
  int port, database, durability, wait_replicas, wait_ms;
  uint64_t connect_timeout_ns, answer_timeout_ns;
  bool uses_tls;
} rd_settings;
enum { RD_ALWAYS, RD_EVERYSEC, RD_NONE };

/* Appends a command. `words` end with NULL. */
void rd_put_words(store_text *out, const char *const *words);
/* Appends the command of a call. `uses_eval`: with the script's text, for a server that does not know it. */
void rd_put_call(store_text *out, const rd_settings *settings, const store_call *call, rd_script script, bool uses_eval);
/* Appends what puts a commit's group into the index. */
void rd_put_index(store_text *out, const rd_settings *settings, const store_call *call);
/* Which script the call runs first; RD_SCRIPTS: none. */
rd_script rd_script_of(const store_call *call);
/* Reads an answer. */
skein_status rd_read_answer(const store_call *call, const rd_reply *reply, uint8_t **result, size_t *length);

/* ---- The store; plugin.c, connection.c ---- */

typedef struct rd_op {
  struct rd_op *next;
  store_call *call; /* NULL: over */
  rd_script script; /* that it runs next */
  bool is_wait;     /* a WAIT, for the commits before it */
  bool is_note;     /* a group goes into the index; nobody waits for it */
  bool was_sent;    /* it may have happened */
  int index_tries;  /* how often its group was not in the index */
  uint64_t sent_ns;
} rd_op;

typedef struct rd_queue {
  rd_op *first, *last;
} rd_queue;

typedef enum { RD_WAITING, RD_RESOLVING, RD_CONNECTING, RD_GREETING, RD_READY } rd_state;

typedef struct rd_store {
  store *owner;
  rd_settings settings;
  rd_state state;
  store_lookup *lookup;
  rd_link *link;
  rd_reader *reader;
  store_backoff backoff;
  uint64_t wake_ns, ready_ns;
  store_text output;
  size_t written;        /* of `output` */
  int greetings;         /* GREETING: replies that came */
  bool is_aof, is_always, is_never, knows_fsync, evicts; /* always, never: appendfsync */
  bool drops_transactions; /* when it reads its append-only file: redis#14541 */
  rd_queue waiting;      /* to be sent */
  rd_queue flight;       /* sent, in the order of their replies */
  rd_queue held;         /* done here, until replicas have them */
  rd_queue again;        /* needs another command (or the text of the script); sent once nothing is under way */
  bool needs_text[RD_SCRIPTS];
  char said[RD_MOST_WHY]; /* the last problem that went to the log */
  uint64_t said_ns;
} rd_store;

void rd_push(rd_queue *queue, rd_op *op);
rd_op *rd_pop(rd_queue *queue);
void rd_advance(rd_store *self, short happened, uint64_t now);
void rd_send(rd_store *self, uint64_t now);
bool rd_is_down(const rd_store *self);
/* A problem, once a minute unless it changes. */
void rd_say(rd_store *self, int32_t level, const char *why);
void rd_lose(rd_store *self, const char *why);
/* greeting.c: login and what the server is configured for. */
void rd_greet(rd_store *self);
void rd_take_greeting(rd_store *self, const rd_reply *reply);

#endif
