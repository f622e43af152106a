/* hiredis' reader parses RESP; the objects that it makes are ours, with limits: the server may be anybody. */
#include <hiredis/read.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"

struct rd_reader {
  redisReader *parser;
  size_t elements; /* of the reply that is being read */
};

static rd_reply *make(const redisReadTask *task, rd_kind kind, const char *text, size_t length) {
  rd_reader *reader = task->privdata;
  if (++reader->elements > RD_MOST_ELEMENTS) return NULL;
  rd_reply *reply = calloc(1, sizeof *reply);
  char *copy = reply == NULL ? NULL : malloc(length + 1);
  if (copy == NULL) {
    free(reply);
    return NULL;
  }
  if (length > 0) memcpy(copy, text, length);
  copy[length] = 0;
  *reply = (rd_reply){.kind = kind, .text = copy, .length = length};
  if (task->parent != NULL) {
    rd_reply *parent = task->parent->obj;
    if (parent == NULL || task->idx < 0 || (size_t)task->idx >= parent->count) {
      rd_reply_free(reply);
      return NULL;
    }
    parent->items[task->idx] = reply;
  }
  return reply;
}

static void *make_string(const redisReadTask *task, char *text, size_t length) {
  const rd_kind kind = task->type == REDIS_REPLY_ERROR ? RD_ERROR : task->type == REDIS_REPLY_STATUS ? RD_STATUS : RD_TEXT;
  return make(task, kind, text, length);
}

static void *make_array(const redisReadTask *task, int count) {
  const rd_reader *reader = task->privdata;
  if (count < 0 || (size_t)count > RD_MOST_ELEMENTS - reader->elements) return NULL;
  rd_reply *reply = make(task, RD_ARRAY, "", 0);
  if (reply == NULL) return NULL;
  reply->items = calloc((size_t)count + 1, sizeof *reply->items);
  if (reply->items != NULL) reply->count = (size_t)count;
  /* It stands in its parent already, which the parser frees. */
  else if (task->parent == NULL) rd_reply_free(reply);
  return reply->items == NULL && task->parent == NULL ? NULL : reply;
}

static void *make_integer(const redisReadTask *task, long long number) {
  rd_reply *reply = make(task, RD_NUMBER, "", 0);
  if (reply != NULL) reply->number = number;
  return reply;
}

static void *make_nil(const redisReadTask *task) { return make(task, RD_NIL, "", 0); }

void rd_reply_free(rd_reply *reply) {
  if (reply == NULL) return;
  for (size_t i = 0; i < reply->count; i++) rd_reply_free(reply->items[i]);
  free(reply->items);
  free(reply->text);
  free(reply);
}

static void free_object(void *object) { rd_reply_free(object); }

static redisReplyObjectFunctions functions = {make_string, make_array, make_integer, make_nil, free_object};

rd_reader *rd_reader_make(void) {
  rd_reader *reader = calloc(1, sizeof *reader);
  if (reader == NULL) return NULL;
  reader->parser = redisReaderCreateWithFunctions(&functions);
  if (reader->parser == NULL) {
    free(reader);
    return NULL;
  }
  reader->parser->privdata = reader;
  return reader;
}

void rd_reader_free(rd_reader *reader) {
  if (reader == NULL) return;
  redisReaderFree(reader->parser);
  free(reader);
}

bool rd_reader_feed(rd_reader *reader, const char *bytes, size_t length) {
  if (reader->parser->len - reader->parser->pos + length > RD_MOST_REPLY) return false;
  return redisReaderFeed(reader->parser, bytes, length) == REDIS_OK;
}

bool rd_reader_next(rd_reader *reader, rd_reply **reply) {
  void *object = NULL;
  *reply = NULL;
  if (redisReaderGetReply(reader->parser, &object) != REDIS_OK) return false;
  if (object != NULL) reader->elements = 0;
  *reply = object;
  return true;
}
