/* The connection: commands go out in the order of the calls, replies come back in the same. One is enough: Redis runs one
 * command at a time, and what waits here is sent together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"

void rd_push(rd_queue *queue, rd_op *op) {
  op->next = NULL;
  if (queue->last != NULL) queue->last->next = op;
  else queue->first = op;
  queue->last = op;
}

rd_op *rd_pop(rd_queue *queue) {
  rd_op *op = queue->first;
  if (op == NULL) return NULL;
  queue->first = op->next;
  if (queue->first == NULL) queue->last = NULL;
  op->next = NULL;
  return op;
}

/* Moves all of `front` before `queue`, but for what nobody waits for. */
static void put_before(rd_queue *front, rd_queue *queue) {
  rd_queue all = {NULL, NULL};
  for (rd_op *op; (op = rd_pop(front)) != NULL;) {
    if (op->call != NULL && !op->is_wait) rd_push(&all, op);
    else free(op);
  }
  if (all.first == NULL) return;
  all.last->next = queue->first;
  if (queue->first == NULL) queue->last = all.last;
  queue->first = all.first;
}

void rd_say(rd_store *self, int32_t level, const char *why) {
  const uint64_t now = store_now();
  if (strcmp(self->said, why) == 0 && now - self->said_ns < 60000000000u) return;
  snprintf(self->said, sizeof self->said, "%s", why);
  self->said_ns = now;
  store_log(self->owner, level, "%s", why);
}

bool rd_is_down(const rd_store *self) { return self->backoff.failures > 0 && self->state != RD_READY; }

static void end_op(rd_store *self, rd_op *op, skein_status status, const uint8_t *result, size_t length) {
  if (op->call != NULL) store_end(self->owner, op->call, status, result, length);
  free(op);
}

void rd_lose(rd_store *self, const char *why) {
  const uint64_t now = store_now();
  const bool was_ready = self->state == RD_READY;
  char text[RD_MOST_WHY];
  snprintf(text, sizeof text, "%s %.120s:%d: %.300s", was_ready ? "lost the connection to Redis" : "no connection to Redis",
           self->settings.host, self->settings.port, why);
  rd_say(self, SKEIN_LOG_WARNING, text);
  store_lookup_end(self->lookup);
  rd_link_close(self->link);
  rd_reader_free(self->reader);
  store_text_free(&self->output);
  self->lookup = NULL;
  self->link = NULL;
  self->reader = NULL;
  self->written = 0;
  self->state = RD_WAITING;
  put_before(&self->flight, &self->waiting);
  put_before(&self->again, &self->waiting);
  put_before(&self->held, &self->waiting);
  store_record(self->owner, STORE_CONNECTIONS, 0);
  if (was_ready) {
    store_record(self->owner, STORE_RECONNECTS, 1);
    self->backoff.failures = 0;
    /* At once, unless it was lost as soon as it was there. */
    self->wake_ns = now - self->ready_ns < 1000000000u ? now + 200000000u : now;
    return;
  }
  self->wake_ns = now + store_backoff_next(&self->backoff);
  /* What was never sent is answered; a commit that was waits for the next try: it may have happened. */
  rd_queue kept = {NULL, NULL};
  for (rd_op *op; (op = rd_pop(&self->waiting)) != NULL;) {
    if (op->call != NULL && op->was_sent && op->call->what == STORE_COMMIT) rd_push(&kept, op);
    else end_op(self, op, SKEIN_RETRY_LATER, NULL, 0);
  }
  self->waiting = kept;
}

/* ---- Sending ---- */

/* A commit that this server would acknowledge, and then drop at its next start. */
static bool would_be_dropped(rd_store *self, const store_call *call) {
  if (!self->drops_transactions || call->what != STORE_COMMIT || call->request.commit->n_offsets <= RD_MOST_AT_ONCE) return false;
  char why[RD_MOST_WHY];
  snprintf(why, sizeof why,
           "a commit of %zu offsets (more than %d) needs a transaction, and Redis drops those at its next start while the user default has"
           " no rights (redis#14541): ACL SETUSER default off ~* &* +@all",
           call->request.commit->n_offsets, (int)RD_MOST_AT_ONCE);
  rd_say(self, SKEIN_LOG_ERROR, why);
  return true;
}

static bool put_wait(rd_store *self, uint64_t now) {
  char count[16], time[16];
  rd_op *op = calloc(1, sizeof *op);
  if (op == NULL) return false;
  *op = (rd_op){.is_wait = true, .script = RD_SCRIPTS, .sent_ns = now};
  snprintf(count, sizeof count, "%d", self->settings.wait_replicas);
  snprintf(time, sizeof time, "%d", self->settings.wait_ms);
  rd_put_words(&self->output, (const char *const[]){"WAIT", count, time, NULL});
  rd_push(&self->flight, op);
  return true;
}

static bool put_note(rd_store *self, const store_call *call, uint64_t now) {
  rd_op *op = calloc(1, sizeof *op);
  if (op == NULL) return false;
  *op = (rd_op){.is_note = true, .script = RD_SCRIPTS, .sent_ns = now};
  rd_put_index(&self->output, &self->settings, call);
  rd_push(&self->flight, op);
  return true;
}

static bool flush(rd_store *self) {
  char why[RD_MOST_WHY];
  if (self->output.failed) {
    rd_lose(self, "there is no memory");
    return false;
  }
  while (self->written < self->output.length) {
    const long count = rd_link_write(self->link, self->output.bytes + self->written, self->output.length - self->written, why);
    if (count < 0) {
      rd_lose(self, why);
      return false;
    }
    if (count == 0) break;
    self->written += (size_t)count;
  }
  if (self->written == self->output.length) {
    self->output.length = self->written = 0;
    if (self->output.capacity > 1 << 20) store_text_free(&self->output);
  }
  return true;
}

void rd_send(rd_store *self, uint64_t now) {
  bool has_commit = false, ok = true;
  /* What comes while others are under way goes out together, once they are answered: the server flushes once for what it
   * reads at once. (So nothing overtakes what `again` holds, either.) */
  const bool is_free = self->flight.first == NULL;
  while (is_free && self->waiting.first != NULL && self->output.length - self->written < 4 << 20) {
    rd_op *op = rd_pop(&self->waiting);
    if (op->call == NULL) {
      free(op);
      continue;
    }
    if (would_be_dropped(self, op->call)) {
      end_op(self, op, SKEIN_RETRY_LATER, NULL, 0);
      continue;
    }
    const bool uses_eval = op->script != RD_SCRIPTS && self->needs_text[op->script];
    if (op->script != RD_SCRIPTS) self->needs_text[op->script] = false;
    if (op->index_tries > 0 && !put_note(self, op->call, now)) {
      rd_push(&self->waiting, op);
      ok = false;
      break;
    }
    rd_put_call(&self->output, &self->settings, op->call, op->script, uses_eval);
    op->was_sent = true;
    op->sent_ns = now;
    has_commit = has_commit || op->call->what == STORE_COMMIT;
    rd_push(&self->flight, op);
  }
  if (has_commit && self->settings.wait_replicas > 0) ok = put_wait(self, now);
  if (!ok) rd_lose(self, "there is no memory");
  else flush(self);
}

/* ---- Receiving ---- */

static bool begins(const rd_reply *reply, const char *word) { return strncmp(reply->text, word, strlen(word)) == 0; }

/* What the server refuses, it has not done. */
static skein_status refused(rd_store *self, const rd_reply *reply) {
  char why[RD_MOST_WHY];
  snprintf(why, sizeof why, "Redis refuses a command: %.300s", reply->text);
  rd_say(self, SKEIN_LOG_ERROR, why);
  return begins(reply, "SKEINBAD") ? SKEIN_FAILED : SKEIN_RETRY_LATER;
}

static void end_held(rd_store *self, const rd_reply *reply) {
  const bool is_enough = reply->kind == RD_NUMBER && reply->number >= self->settings.wait_replicas;
  if (!is_enough) {
    char why[RD_MOST_WHY];
    snprintf(why, sizeof why, "fewer than %d replica(s) have a commit after %d ms: it is not acknowledged", self->settings.wait_replicas, self->settings.wait_ms);
    rd_say(self, SKEIN_LOG_WARNING, reply->kind == RD_ERROR ? reply->text : why);
  }
  for (rd_op *op; (op = rd_pop(&self->held)) != NULL;) end_op(self, op, is_enough ? SKEIN_OK : SKEIN_CANCELLED, NULL, 0);
}

/* A commit whose group is not in the index yet, a removal that left nothing: another command finishes them. */
static bool needs_more(rd_op *op, const rd_reply *reply) {
  if (reply->kind != RD_NUMBER) return false;
  if (op->call->what == STORE_COMMIT && reply->number == -1) return ++op->index_tries <= 3;
  if (op->call->what != STORE_REMOVE || op->script != RD_REMOVE_SCRIPT || reply->number != 2) return false;
  op->script = RD_FORGET_SCRIPT;
  return true;
}

/* False: the connection is lost. */
static bool take_reply(rd_store *self, const rd_reply *reply) {
  rd_op *op = rd_pop(&self->flight);
  if (op == NULL) {
    rd_lose(self, "it answers what was not asked");
    return false;
  }
  if (op->is_wait) {
    end_held(self, reply);
    free(op);
  } else if (op->is_note) {
    if (reply->kind == RD_ERROR) refused(self, reply);
    free(op);
  } else if (reply->kind == RD_ERROR && begins(reply, "NOSCRIPT") && op->script != RD_SCRIPTS) {
    self->needs_text[op->script] = true;
    rd_push(&self->again, op);
  } else if (reply->kind == RD_ERROR) {
    /* Another server may have become the primary; a login may have been changed. */
    const bool is_other = begins(reply, "READONLY") || begins(reply, "NOAUTH") || begins(reply, "WRONGPASS");
    end_op(self, op, refused(self, reply), NULL, 0);
    if (is_other) {
      rd_lose(self, reply->text);
      return false;
    }
  } else if (op->call == NULL) {
    free(op);
  } else if (needs_more(op, reply)) {
    rd_push(&self->again, op);
  } else {
    uint8_t *result = NULL;
    size_t length = 0;
    const skein_status status = rd_read_answer(op->call, reply, &result, &length);
    if (status == SKEIN_FAILED) rd_say(self, SKEIN_LOG_ERROR, "Redis holds a value that is none of ours: was a key changed by hand?");
    if (status == SKEIN_OK && op->call->what == STORE_COMMIT && self->settings.wait_replicas > 0) rd_push(&self->held, op);
    else end_op(self, op, status, result, length);
    free(result);
  }
  if (self->flight.first == NULL) put_before(&self->again, &self->waiting);
  return true;
}

static void receive(rd_store *self) {
  char bytes[32768], why[RD_MOST_WHY];
  for (;;) {
    const long count = rd_link_read(self->link, bytes, sizeof bytes, why);
    if (count == 0) return;
    if (count < 0) {
      rd_lose(self, why);
      return;
    }
    if (!rd_reader_feed(self->reader, bytes, (size_t)count)) {
      rd_lose(self, "its reply is larger than anything that was asked for");
      return;
    }
    for (rd_reply *reply;;) {
      if (!rd_reader_next(self->reader, &reply)) {
        rd_lose(self, "its reply is malformed");
        return;
      }
      if (reply == NULL) break;
      bool goes_on = true;
      if (self->state == RD_GREETING) {
        rd_take_greeting(self, reply);
        goes_on = self->link != NULL;
      } else {
        goes_on = take_reply(self, reply);
      }
      rd_reply_free(reply);
      if (!goes_on) return;
    }
  }
}

/* ---- Connecting ---- */

static void resolve(rd_store *self) {
  store_addresses addresses;
  char why[RD_MOST_WHY];
  const int code = store_lookup_look(self->lookup, &addresses, why);
  if (code == 1) return;
  if (code == 0) {
    const rd_tls tls = {self->settings.ca_file, self->settings.certificate_file, self->settings.key_file};
    self->link = rd_link_open(self->settings.host, &addresses, self->settings.port, self->settings.uses_tls ? &tls : NULL, why);
  }
  store_lookup_end(self->lookup);
  self->lookup = NULL;
  if (self->link == NULL) rd_lose(self, why);
  else self->state = RD_CONNECTING;
}

static void connect_more(rd_store *self) {
  char why[RD_MOST_WHY];
  switch (rd_link_connect(self->link, why)) {
    case RD_BUSY: break;
    case RD_FAILED: rd_lose(self, why); break;
    case RD_DONE:
      self->reader = rd_reader_make();
      self->state = RD_GREETING;
      if (self->reader == NULL) {
        rd_lose(self, "there is no memory");
        break;
      }
      rd_greet(self);
      flush(self);
  }
}

void rd_advance(rd_store *self, short happened, uint64_t now) {
  if (self->state == RD_WAITING && now >= self->wake_ns) {
    self->wake_ns = now + self->settings.connect_timeout_ns;
    self->lookup = store_lookup_begin(self->settings.host);
    self->state = RD_RESOLVING;
    if (self->lookup == NULL) rd_lose(self, "there is no memory or thread to resolve its name");
  }
  if (self->state == RD_RESOLVING) {
    resolve(self);
  } else if (self->state == RD_CONNECTING && happened != 0) {
    connect_more(self);
  } else if ((self->state == RD_GREETING || self->state == RD_READY) && happened != 0) {
    if (flush(self)) receive(self);
  }
  const bool is_trying = self->state == RD_RESOLVING || self->state == RD_CONNECTING || self->state == RD_GREETING;
  if (is_trying && now >= self->wake_ns) rd_lose(self, "it did not answer in time");
  if (self->state == RD_READY && self->flight.first != NULL && now > self->flight.first->sent_ns &&
      now - self->flight.first->sent_ns > self->settings.answer_timeout_ns)
    rd_lose(self, "it did not answer a command in time");
}
