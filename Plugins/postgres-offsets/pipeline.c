/* Statements on a connection that is READY. Commits that wait go out together, in one transaction and with one flush of
 * the server's log; the next batch follows when this one is answered, so that commits of one group stay in order. When one
 * of a batch is refused, all of it is undone by the server, and each is sent again with a transaction of its own. */
#include <stdlib.h>
#include <string.h>

#include "postgres.h"

void pg_free_op(pg_op *op) {
  if (op->home != NULL) op->home->away--;
  free(op->result);
  free(op);
}

void pg_push(pg_queue *queue, pg_op *op) {
  op->next = NULL;
  if (queue->last != NULL) queue->last->next = op;
  else queue->first = op;
  queue->last = op;
}

pg_op *pg_pop(pg_queue *queue) {
  pg_op *op = queue->first;
  if (op == NULL) return NULL;
  queue->first = op->next;
  if (queue->first == NULL) queue->last = NULL;
  op->next = NULL;
  return op;
}

static void put_before(pg_queue *front, pg_queue *queue) {
  if (front->first == NULL) return;
  front->last->next = queue->first;
  if (queue->first == NULL) queue->last = front->last;
  queue->first = front->first;
}

/* Frees those that nobody waits for at the head of a queue. */
static pg_op *head(pg_queue *queue) {
  while (queue->first != NULL && queue->first->call == NULL) pg_free_op(pg_pop(queue));
  return queue->first;
}

/* ---- Sending ---- */

/* Moves ops from `queue` into a batch and sends it. False: the connection is lost, or there is no memory. */
static bool send_batch(pg_connection *self, pg_queue *queue, bool is_commit, size_t most, uint64_t now) {
  pg_batch *batch = calloc(1, sizeof *batch);
  if (batch == NULL) return false;
  batch->is_commit = is_commit;
  batch->sent_ns = now;
  if (self->flight_last != NULL) self->flight_last->next = batch;
  else self->flight = batch;
  self->flight_last = batch;
  *(is_commit ? &self->flight_commits : &self->flight_reads) += 1;
  size_t count = 0, offsets = 0;
  for (pg_op *op; count < most && (op = head(queue)) != NULL; count++) {
    if (count > 0 && (op->is_alone || offsets > STORE_MOST_OFFSETS)) break;
    const bool is_alone = op->is_alone;
    if (is_commit) offsets += op->call->request.commit->n_offsets;
    pg_push(&batch->ops, pg_pop(queue));
    if (batch->at == NULL) batch->at = op;
    op->was_sent = true;
    op->status = SKEIN_CANCELLED;
    if (!pg_send_statement(self, op->call)) return false;
    if (is_alone) break;
  }
  return PQpipelineSync(self->link) == 1;
}

static bool send_all(pg_connection *self, uint64_t now) {
  if (self->flight_commits == 0 && head(&self->commits) != NULL) {
    do {
      const bool is_alone = self->commits.first->is_alone;
      if (!send_batch(self, &self->commits, true, PG_MOST_BATCH, now)) return false;
      if (!is_alone) break;
    } while (head(&self->commits) != NULL && self->commits.first->is_alone);
  }
  while (self->flight_reads < PG_MOST_READS && head(&self->reads) != NULL)
    if (!send_batch(self, &self->reads, false, 1, now)) return false;
  return true;
}

void pg_send(pg_connection *self, uint64_t now) {
  char line[PG_MOST_WHY];
  const int left = send_all(self, now) ? PQflush(self->link) : -1;
  if (left < 0) pg_lose(self, pg_first_line(PQerrorMessage(self->link), line, sizeof line));
  else self->events = left > 0 ? POLLIN | POLLOUT : POLLIN;
}

/* ---- Receiving ---- */

static void end_op(pg_connection *self, pg_op *op) {
  if (op->call != NULL) store_end(self->owner->owner, op->call, op->status, op->result, op->length);
  pg_free_op(op);
}

static void forget_result(pg_op *op) {
  free(op->result);
  op->result = NULL;
  op->length = 0;
}

/* The transaction of the first batch is over. */
static void finish_batch(pg_connection *self) {
  pg_batch *batch = self->flight;
  self->flight = batch->next;
  if (self->flight == NULL) self->flight_last = NULL;
  *(batch->is_commit ? &self->flight_commits : &self->flight_reads) -= 1;
  const bool again = batch->has_failed && batch->ops.first != NULL && batch->ops.first->next != NULL;
  if (again) {
    for (pg_op *op = batch->ops.first; op != NULL; op = op->next) {
      op->is_alone = true;
      op->was_sent = false; /* undone: nothing was changed */
      forget_result(op);
    }
    put_before(&batch->ops, &self->commits);
  } else {
    for (pg_op *op; (op = pg_pop(&batch->ops)) != NULL;) end_op(self, op);
  }
  free(batch);
}

static void take_result(pg_connection *self, const PGresult *result) {
  pg_batch *batch = self->flight;
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_PIPELINE_ABORTED || status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) batch->has_failed = true;
  if (batch->at != NULL) {
    pg_read_result(self->owner, result, batch->at);
    batch->at = batch->at->next;
  } else if (status == PGRES_FATAL_ERROR && batch->ops.last != NULL) {
    /* The commit itself failed, after its statements: the answer is that of the last one, and all are undone. */
    pg_read_result(self->owner, result, batch->ops.last);
  }
}

void pg_receive(pg_connection *self) {
  char line[PG_MOST_WHY];
  if (PQconsumeInput(self->link) != 1) {
    pg_lose(self, pg_first_line(PQerrorMessage(self->link), line, sizeof line));
    return;
  }
  for (int empty = 0; empty < 2 && !PQisBusy(self->link);) {
    PGresult *result = PQgetResult(self->link);
    if (result == NULL) {
      if (self->flight == NULL) break;
      empty++; /* the end of one statement's results */
      continue;
    }
    empty = 0;
    const ExecStatusType status = PQresultStatus(result);
    if (self->flight == NULL || status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      pg_first_line(status == PGRES_FATAL_ERROR ? PQresultErrorMessage(result) : "it answers what was not asked", line, sizeof line);
      PQclear(result);
      pg_lose(self, line);
      return;
    }
    if (status == PGRES_PIPELINE_SYNC) finish_batch(self);
    else take_result(self, result);
    PQclear(result);
  }
  if (PQstatus(self->link) == CONNECTION_BAD) pg_lose(self, pg_first_line(PQerrorMessage(self->link), line, sizeof line));
}

void pg_requeue(pg_connection *self) {
  pg_queue commits = {NULL, NULL}, reads = {NULL, NULL};
  while (self->flight != NULL) {
    pg_batch *batch = self->flight;
    self->flight = batch->next;
    for (pg_op *op; (op = pg_pop(&batch->ops)) != NULL;) {
      forget_result(op);
      pg_push(batch->is_commit ? &commits : &reads, op);
    }
    free(batch);
  }
  self->flight_last = NULL;
  self->flight_commits = self->flight_reads = 0;
  put_before(&commits, &self->commits);
  put_before(&reads, &self->reads);
}
