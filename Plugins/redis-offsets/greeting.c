/* Login, and whether the server keeps what it acknowledges. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"

enum { GREETINGS = 6 };
static const char *const durabilities[] = {"always", "everysec", "none"};

/* Six commands, whose replies are told apart by their place. */
void rd_greet(rd_store *self) {
  const rd_settings *s = &self->settings;
  char database[16];
  snprintf(database, sizeof database, "%d", s->database);
  store_text *out = &self->output;
  self->greetings = 0;
  self->is_aof = self->is_always = self->is_never = self->knows_fsync = self->evicts = self->drops_transactions = false;
  const char *const with_password[] = {"AUTH", s->user == NULL ? "default" : s->user, s->password, NULL};
  const char *const without[] = {"PING", NULL};
  rd_put_words(out, s->password != NULL ? with_password : without);
  rd_put_words(out, (const char *const[]){"SELECT", database, NULL});
  rd_put_words(out, (const char *const[]){"INFO", NULL});
  rd_put_words(out, (const char *const[]){"CONFIG", "GET", "appendfsync", NULL});
  rd_put_words(out, (const char *const[]){"CONFIG", "GET", "no-appendfsync-on-rewrite", NULL});
  rd_put_words(out, (const char *const[]){"ACL", "DRYRUN", "default", "HSET", s->prefix, "f", "v", NULL});
}

/* Whether a line of INFO is `name:` and then something that begins with `value`. */
static bool has_line(const char *info, const char *name, const char *value) {
  char line[96];
  snprintf(line, sizeof line, "\n%s:%s", name, value);
  return strstr(info, line) != NULL;
}

/* NULL: it is as it must be. Of the kind of why, not a sentence for each combination. */
static const char *problem(const rd_store *self) {
  if (self->settings.durability == RD_NONE) return NULL;
  if (!self->is_aof) return "it has appendonly off: offsets that it acknowledges are lost when it ends. Set appendonly yes, or \"durability\": \"none\" if that is wanted";
  if (self->evicts) return "its maxmemory-policy evicts any key, offsets too. Set noeviction or volatile-…";
  if (self->is_never) return "it leaves it to the kernel when to flush (appendfsync no): half a minute of what it acknowledged may be lost. Set always or everysec";
  if (self->settings.durability != RD_ALWAYS) return NULL;
  if (!self->knows_fsync) return "it does not tell appendfsync. Grant +config|get, or accept \"durability\": \"everysec\"";
  if (!self->is_always) return "it does not flush before it acknowledges (appendfsync always, no-appendfsync-on-rewrite no): set both, or accept \"durability\": \"everysec\"";
  return NULL;
}

static void finish(rd_store *self) {
  const char *why = problem(self);
  if (why != NULL) {
    rd_lose(self, why);
    return;
  }
  self->state = RD_READY;
  self->ready_ns = store_now();
  self->backoff.failures = 0;
  self->said[0] = 0;
  for (size_t i = 0; i < RD_SCRIPTS; i++) self->needs_text[i] = true;
  store_record(self->owner, STORE_CONNECTIONS, 1);
  store_log(self->owner, SKEIN_LOG_INFO, "connected to Redis at %s:%d, durability %s", self->settings.host, self->settings.port,
            durabilities[self->settings.durability]);
  if (!self->is_aof) rd_say(self, SKEIN_LOG_WARNING, "Redis has appendonly off: offsets that it acknowledges are lost when it ends");
}

/* CONFIG GET: name and value. */
static const char *config_value(const rd_reply *reply) {
  return reply->kind == RD_ARRAY && reply->count == 2 ? reply->items[1]->text : NULL;
}

void rd_take_greeting(rd_store *self, const rd_reply *reply) {
  const char *value;
  const int place = self->greetings++;
  /* To tell fsync and the rights of `default` are rights of their own; all else must go. */
  if (reply->kind == RD_ERROR && place < 3) {
    char why[RD_MOST_WHY];
    snprintf(why, sizeof why, "it refuses %s: %.300s", place == 0 ? "the login" : place == 1 ? "the database" : "INFO", reply->text);
    rd_lose(self, why);
    return;
  }
  switch (place) {
    case 2:
      if (has_line(reply->text, "role", "slave")) {
        rd_lose(self, "it is a replica, which takes no commits");
        return;
      }
      if (has_line(reply->text, "cluster_enabled", "1")) {
        rd_lose(self, "it is a node of a Redis Cluster, which is not supported: name a server of its own");
        return;
      }
      self->is_aof = has_line(reply->text, "aof_enabled", "1");
      self->evicts = has_line(reply->text, "maxmemory_policy", "allkeys") && !has_line(reply->text, "maxmemory", "0\r");
      break;
    case 3:
      value = config_value(reply);
      self->knows_fsync = value != NULL;
      self->is_always = value != NULL && strcmp(value, "always") == 0;
      /* "no" leaves it to the kernel, half a minute or so. */
      self->is_never = value != NULL && strcmp(value, "no") == 0;
      break;
    case 4:
      value = config_value(reply);
      if (value != NULL && strcmp(value, "no") != 0) self->is_always = false;
      break;
    case 5:
      /* OK, or a sentence about what is missing; an error: this server or user cannot tell. */
      self->drops_transactions = self->is_aof && reply->kind == RD_TEXT;
      break;
    default: break;
  }
  if (self->greetings == GREETINGS) finish(self);
}
