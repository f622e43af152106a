/* Calls the plug-in as a host does, with a host that hears completions. */
#include "{{NAME}}.c"

#define CHECK(condition) \
  do { \
    if (!(condition)) { fprintf(stderr, "test.c:%d: %s\n", __LINE__, #condition); return 1; } \
    passed++; \
  } while (0)

static int completions;
static skein_status last_status;
static char seen[256], token[64]; /* of the last page: "group partition=offset " … */
static int32_t complete(void *ctx, skein_call call, skein_status status, skein_bytes result) {
  (void)ctx, (void)call;
  completions++;
  last_status = status;
  seen[0] = token[0] = 0;
  Skein__Plugin__V1__OffsetPage *page = skein__plugin__v1__offset_page__unpack(NULL, result.len, result.ptr);
  for (size_t g = 0; page != NULL && g < page->n_groups; g++)
    for (size_t i = 0; i < page->groups[g]->n_offsets; i++)
      snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s %d=%d ", page->groups[g]->group,
               (int)page->groups[g]->offsets[i]->partition, (int)page->groups[g]->offsets[i]->offset);
  if (page != NULL) snprintf(token, sizeof token, "%s", page->token);
  if (page != NULL) skein__plugin__v1__offset_page__free_unpacked(page, NULL);
  return 0;
}
static int32_t is_cancelled(void *ctx, skein_call call) { return (void)ctx, (void)call, 0; }
static const skein_host_async async = {sizeof async, 0, complete, is_cancelled};
static const void *service(void *ctx, const char *id) {
  (void)ctx;
  return strcmp(id, SKEIN_HOST_ASYNC) == 0 ? &async : NULL;
}
static const skein_host host = {sizeof host, SKEIN_ABI_MINOR, NULL, service};

static const skein_offset_store *table;
static void *self;
static uint8_t bytes[1024];

static void try_commit(char *group, int32_t partition, int64_t offset, int32_t epoch) {
  stored_offset one = SKEIN__PLUGIN__V1__STORED_OFFSET__INIT, *list[] = {&one};
  Skein__Plugin__V1__CommitOffsets request = SKEIN__PLUGIN__V1__COMMIT_OFFSETS__INIT;
  one.topic_id = "t";
  one.partition = partition;
  one.offset = offset;
  request.tenant = "a";
  request.group = group;
  request.member_epoch = epoch;
  request.n_offsets = 1;
  request.offsets = list;
  table->commit(self, 1, UINT64_MAX, (skein_bytes){bytes, skein__plugin__v1__commit_offsets__pack(&request, bytes)});
}
static void try_fetch(char *tenant, char *group) {
  Skein__Plugin__V1__FetchOffsets request = SKEIN__PLUGIN__V1__FETCH_OFFSETS__INIT;
  request.tenant = tenant;
  request.group = group;
  table->fetch(self, 2, UINT64_MAX, (skein_bytes){bytes, skein__plugin__v1__fetch_offsets__pack(&request, bytes)});
}
static void try_scan(uint32_t limit) {
  Skein__Plugin__V1__ScanOffsets request = SKEIN__PLUGIN__V1__SCAN_OFFSETS__INIT;
  char from[64];
  memcpy(from, token, sizeof from);
  request.tenant = "a";
  request.token = from;
  request.limit = limit;
  table->scan(self, 3, UINT64_MAX, (skein_bytes){bytes, skein__plugin__v1__scan_offsets__pack(&request, bytes)});
}
static void try_remove(char *group, partition_name *partition) {
  Skein__Plugin__V1__RemoveOffsets request = SKEIN__PLUGIN__V1__REMOVE_OFFSETS__INIT;
  request.tenant = "a";
  request.group = group;
  request.n_partitions = partition != NULL;
  request.partitions = &partition;
  table->remove(self, 4, UINT64_MAX, (skein_bytes){bytes, skein__plugin__v1__remove_offsets__pack(&request, bytes)});
}

int main(void) {
  int passed = 0;
  skein_bytes why;
  table = skein_plugin_entry(&host)->get(SKEIN_OFFSET_STORE);
  CHECK(table != NULL);
  CHECK(table->ops.create(&host, 1, (skein_bytes){NULL, 0}, &self, &why) == SKEIN_OK);
  try_commit("g", 0, 7, 5);
  CHECK(last_status == SKEIN_OK);
  try_commit("g", 0, 3, 4);
  CHECK(last_status == SKEIN_DENIED);
  try_commit("g", 0, 6, 5);
  CHECK(last_status == SKEIN_DENIED);
  try_commit("g", 0, 1, 0);
  CHECK(last_status == SKEIN_OK);
  try_commit("g", 0, 7, 5);
  CHECK(last_status == SKEIN_OK);
  try_commit("g", 1, 8, 5);
  try_commit("h i", 0, 9, 1);
  try_fetch("a", "g");
  CHECK(last_status == SKEIN_OK && strcmp(seen, "g 0=7 g 1=8 ") == 0);
  try_fetch("b", "g");
  CHECK(last_status == SKEIN_OK && seen[0] == 0);
  try_scan(2);
  CHECK(strcmp(seen, "g 0=7 g 1=8 ") == 0 && token[0] != 0);
  try_scan(2);
  CHECK(strcmp(seen, "h i 0=9 ") == 0 && token[0] == 0);
  partition_name zero = SKEIN__PLUGIN__V1__TOPIC_PARTITION_NAME__INIT;
  zero.topic_id = "t";
  try_remove("g", &zero);
  try_fetch("a", "g");
  CHECK(strcmp(seen, "g 1=8 ") == 0);
  try_remove("g", NULL);
  try_fetch("a", "g");
  CHECK(seen[0] == 0);
  const uint8_t broken[] = {0xff, 0xff};
  const int before = completions;
  table->commit(self, 5, UINT64_MAX, (skein_bytes){broken, sizeof broken});
  CHECK(last_status == SKEIN_FAILED && completions == before + 1);
  table->ops.quiesce(self, 6);
  CHECK(last_status == SKEIN_OK && completions == before + 2);
  table->ops.destroy(self);
  printf("%d passed\n", passed);
  return 0;
}
