/* The PostgreSQL offset store: its parts. Everything runs in the store's thread but creating and destroying. */
#ifndef SKEIN_POSTGRES_H
#define SKEIN_POSTGRES_H

#include <libpq-fe.h>

#include "store.h"

enum {
  PG_SCHEMA_VERSION = 2,
  PG_MOST_CONNECTIONS = 32,
  PG_MOST_BATCH = 64,  /* commits in one transaction */
  PG_MOST_READS = 32,  /* fetch, scan and remove under way on one connection */
  PG_MOST_WHY = 512,
};

typedef struct pg_settings {
  char *host, *database, *user, *password, *ca_file, *certificate_file, *key_file, *schema;
  int port, connections, statement_timeout_ms;
  uint64_t connect_timeout_ns;
  bool uses_tls, migrates;
} pg_settings;

/* One call as it goes to the server. It outlives its call, whose result must pass by. */
typedef struct pg_op {
  struct pg_op *next;
  struct pg_connection *home; /* whose it would be, while another one stands in; else NULL */
  store_call *call; /* NULL: over */
  bool is_alone;    /* its batch failed: it gets a transaction of its own */
  bool was_sent;    /* it may have happened */
  skein_status status;
  uint8_t *result;
  size_t length;
} pg_op;

typedef struct pg_queue {
  pg_op *first, *last;
} pg_queue;

/* What goes to the server in one transaction, up to one sync. */
typedef struct pg_batch {
  struct pg_batch *next;
  pg_queue ops;
  pg_op *at; /* whose result comes next */
  uint64_t sent_ns;
  bool is_commit, has_failed;
} pg_batch;

typedef enum { PG_WAITING, PG_RESOLVING, PG_CONNECTING, PG_PREPARING, PG_READY } pg_state;
typedef enum { PG_ASK_SESSION, PG_ASK_VERSION, PG_LOCK, PG_MIGRATE, PG_UNLOCK } pg_step;

typedef struct pg_store pg_store;

typedef struct pg_connection {
  pg_store *owner;
  pg_state state;
  pg_step step;
  PGconn *link;
  store_lookup *lookup;
  store_backoff backoff;
  uint64_t wake_ns;  /* WAITING: the next try. RESOLVING to PREPARING: when it has taken too long */
  uint64_t ready_ns; /* since when it is READY */
  short events;      /* what `link` waits for */
  char answer[64];   /* PREPARING: the last value of the step */
  char why[PG_MOST_WHY];
  pg_queue commits, reads;
  pg_batch *flight, *flight_last;
  size_t flight_commits, flight_reads;
  struct pg_connection *stand_in; /* has `away` ops of ours, and gets all until none is left: so groups keep their order */
  size_t away;
} pg_connection;

struct pg_store {
  store *owner;
  pg_settings settings;
  pg_connection connections[PG_MOST_CONNECTIONS];
  size_t polled[PG_MOST_CONNECTIONS]; /* which connection a polled descriptor is of */
  char *commit_sql, *fetch_sql, *fetch_some_sql, *scan_sql, *remove_sql, *remove_some_sql;
  char said[PG_MOST_WHY]; /* the last problem that went to the log */
  uint64_t said_ns;
};

/* connection.c */
void pg_advance(pg_connection *self, short happened, uint64_t now);
/* Ends the connection and tries again later; what was under way goes back to the queues. */
void pg_lose(pg_connection *self, const char *why);
/* Whether calls are better answered at once: the last try failed. */
bool pg_is_down(const pg_connection *self);
void pg_set_ready(pg_connection *self, bool is_ready);
/* A problem, once a minute unless it changes. */
void pg_say(pg_store *self, int32_t level, const char *why);
const char *pg_first_line(const char *message, char *line, size_t size);

/* migrate.c: PREPARING */
void pg_begin_preparing(pg_connection *self);
void pg_prepare_more(pg_connection *self);

/* pipeline.c: READY */
void pg_send(pg_connection *self, uint64_t now);
void pg_receive(pg_connection *self);
void pg_requeue(pg_connection *self);
void pg_free_op(pg_op *op);
void pg_push(pg_queue *queue, pg_op *op);
pg_op *pg_pop(pg_queue *queue);

/* statements.c */
bool pg_make_statements(pg_store *self);
/* False: nothing was sent; there is no memory, or the connection is lost. */
bool pg_send_statement(pg_connection *self, const store_call *call);
/* Reads a result into `op`. */
void pg_read_result(pg_store *self, const PGresult *result, pg_op *op);

#endif
