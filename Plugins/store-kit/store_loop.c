/* Calls: how they come in, and the thread in which they end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store_instance.h"

enum { MOST_LINE = 1024 };

/* ---- Host services ---- */

void store_log(store *self, int32_t level, const char *format, ...) {
  if (!SKEIN_HAS(skein_host_log, self->log, write)) return;
  char line[MOST_LINE];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  const size_t bytes = (size_t)length < sizeof line ? (size_t)length : sizeof line - 1;
  self->log->write(self->host_ctx, self->instance, level, (skein_bytes){(const uint8_t *)line, bytes});
}

void store_record(store *self, store_metric metric, double value) {
  if (SKEIN_HAS(skein_host_metrics, self->metrics, record) && self->series[metric] != 0)
    self->metrics->record(self->host_ctx, self->series[metric], value);
}

/* ---- Calls in [any] ---- */

/* With the lock held. */
void store_wake(store *self) {
  if (self->is_awake) return;
  self->is_awake = true;
  const uint64_t one = 1;
  if (write(self->wake, &one, sizeof one) < 0) self->is_awake = false; /* cannot be: the counter is read at once */
}

static void refuse(store *self, skein_call call, skein_status status) {
  self->async->complete(self->host_ctx, call, status, (skein_bytes){NULL, 0});
}

static void begin(void *raw, store_what what, skein_call token, uint64_t deadline_ns, skein_bytes bytes) {
  store *self = raw;
  ProtobufCMessage *request = store_unpack(what, bytes);
  if (request == NULL) {
    refuse(self, token, SKEIN_FAILED);
    return;
  }
  store_call *call = calloc(1, sizeof *call);
  bool is_in = false;
  if (call != NULL) {
    *call = (store_call){.token = token, .deadline_ns = deadline_ns, .what = what, .request.any = request};
    pthread_mutex_lock(&self->lock);
    is_in = self->calls < STORE_MOST_OPEN;
    if (is_in) {
      if (self->inbox_last != NULL) self->inbox_last->next = call;
      else self->inbox_first = call;
      self->inbox_last = call;
      self->calls++;
      store_wake(self);
    }
    pthread_mutex_unlock(&self->lock);
  }
  if (is_in) return;
  free(call);
  protobuf_c_message_free_unpacked(request, NULL);
  refuse(self, token, SKEIN_RETRY_LATER);
}

void store_commit(void *self, skein_call call, uint64_t deadline, skein_bytes bytes) { begin(self, STORE_COMMIT, call, deadline, bytes); }
void store_fetch(void *self, skein_call call, uint64_t deadline, skein_bytes bytes) { begin(self, STORE_FETCH, call, deadline, bytes); }
void store_scan(void *self, skein_call call, uint64_t deadline, skein_bytes bytes) { begin(self, STORE_SCAN, call, deadline, bytes); }
void store_remove(void *self, skein_call call, uint64_t deadline, skein_bytes bytes) { begin(self, STORE_REMOVE, call, deadline, bytes); }

void store_cancel(void *raw, skein_call token) {
  store *self = raw;
  pthread_mutex_lock(&self->lock);
  if (self->cancel_count == self->cancel_capacity) {
    const size_t capacity = self->cancel_capacity == 0 ? 64 : self->cancel_capacity * 2;
    skein_call *cancels = realloc(self->cancels, capacity * sizeof *cancels);
    if (cancels != NULL) {
      self->cancels = cancels;
      self->cancel_capacity = capacity;
    }
  }
  /* Without memory the call ends at its deadline. */
  if (self->cancel_count < self->cancel_capacity) self->cancels[self->cancel_count++] = token;
  store_wake(self);
  pthread_mutex_unlock(&self->lock);
}

void store_quiesce(void *raw, skein_call done) {
  store *self = raw;
  pthread_mutex_lock(&self->lock);
  self->quiesce = done;
  store_wake(self);
  pthread_mutex_unlock(&self->lock);
}

/* ---- The loop ---- */

void store_end(store *self, store_call *call, skein_status status, const uint8_t *result, size_t length) {
  if (call->previous != NULL) call->previous->next = call->next;
  else self->open = call->next;
  if (call->next != NULL) call->next->previous = call->previous;
  if (call->what == STORE_COMMIT && status == SKEIN_OK) store_record(self, STORE_COMMITS, 1);
  if (call->what == STORE_COMMIT && status == SKEIN_DENIED) store_record(self, STORE_DENIED, 1);
  if (length > STORE_MOST_RESULT) {
    store_log(self, SKEIN_LOG_ERROR, "an answer has %zu bytes, more than %d: the group has too many offsets for one", length, (int)STORE_MOST_RESULT);
    status = SKEIN_FAILED;
    length = 0;
  }
  self->async->complete(self->host_ctx, call->token, status, (skein_bytes){length > 0 ? result : NULL, length});
  pthread_mutex_lock(&self->lock);
  self->calls--;
  pthread_mutex_unlock(&self->lock);
  protobuf_c_message_free_unpacked(call->request.any, NULL);
  free(call);
}

static void give_up(store *self, store_call *call) {
  self->driver->drop(self->state, call);
  store_end(self, call, SKEIN_CANCELLED, NULL, 0);
}

static void take(store *self, store_call *first) {
  while (first != NULL) {
    store_call *call = first;
    first = call->next;
    call->previous = NULL;
    call->next = self->open;
    if (self->open != NULL) self->open->previous = call;
    self->open = call;
    if (call->deadline_ns <= store_now()) store_end(self, call, SKEIN_CANCELLED, NULL, 0);
    else self->driver->submit(self->state, call);
  }
}

static void cancel_all(store *self, const skein_call *tokens, size_t count) {
  for (size_t i = 0; i < count; i++)
    for (store_call *call = self->open; call != NULL; call = call->next)
      if (call->token == tokens[i]) {
        give_up(self, call);
        break;
      }
}

/* Ends what is over; returns the next deadline, or UINT64_MAX. */
static uint64_t expire(store *self, uint64_t now) {
  uint64_t next = UINT64_MAX;
  for (store_call *call = self->open, *after; call != NULL; call = after) {
    after = call->next;
    if (call->deadline_ns <= now) give_up(self, call);
    else if (call->deadline_ns < next) next = call->deadline_ns;
  }
  return next;
}

/* Takes what came in. False: the store ends. */
static bool empty_inbox(store *self) {
  pthread_mutex_lock(&self->lock);
  store_call *first = self->inbox_first;
  skein_call *cancels = self->cancels;
  const size_t cancel_count = self->cancel_count;
  self->inbox_first = self->inbox_last = NULL;
  self->cancels = NULL;
  self->cancel_count = self->cancel_capacity = 0;
  self->is_awake = false;
  const bool goes_on = !self->is_stopping;
  pthread_mutex_unlock(&self->lock);
  take(self, first);
  cancel_all(self, cancels, cancel_count);
  free(cancels);
  return goes_on;
}

static void finish_quiesce(store *self) {
  pthread_mutex_lock(&self->lock);
  const skein_call done = self->calls == 0 ? self->quiesce : 0;
  if (done != 0) self->quiesce = 0;
  pthread_mutex_unlock(&self->lock);
  if (done != 0) refuse(self, done, SKEIN_OK);
}

/* Before the inbox is emptied, which makes `wake` write again. */
static void drain_wake(store *self) {
  uint64_t count;
  if (read(self->wake, &count, sizeof count) < 0) return;
}

void *store_run(void *raw) {
  store *self = raw;
  struct pollfd polled[STORE_MOST_POLLED + 1];
  while (empty_inbox(self)) {
    uint64_t now = store_now();
    uint64_t until = expire(self, now);
    finish_quiesce(self);
    const size_t count = self->driver->prepare(self->state, polled + 1, now, &until);
    polled[0] = (struct pollfd){.fd = self->wake, .events = POLLIN};
    now = store_now();
    /* Rounded up: one wake-up a deadline. */
    int wait = -1;
    if (until <= now) wait = 0;
    else if (until != UINT64_MAX) wait = (until - now) / 1000000 >= 60000 ? 60000 : (int)((until - now + 999999) / 1000000);
    if (poll(polled, count + 1, wait) < 0) {
      if (errno != EINTR) usleep(10000);
      for (size_t i = 0; i <= count; i++) polled[i].revents = 0;
    }
    if (polled[0].revents != 0) drain_wake(self);
    self->driver->turn(self->state, polled + 1, count, store_now());
  }
  while (self->open != NULL) give_up(self, self->open);
  return NULL;
}
