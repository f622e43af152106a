/* The second half of later.h, after authenticator.h. */
static void *finish(void *pointer) {
  struct later *work = pointer;
  sleep_until(work->at);
  complete(work->self, work->call, work->status, (skein_bytes){0, 0});
  __atomic_fetch_sub(&work->self->open, 1, __ATOMIC_RELEASE);
  free(work);
  return 0;
}
static void later(struct authenticator *self, skein_call call, uint64_t at, skein_status status) {
  struct later *work = malloc(sizeof *work);
  pthread_t thread;
  pthread_attr_t small;
  *work = (struct later){self, call, at, status};
  __atomic_fetch_add(&self->open, 1, __ATOMIC_RELAXED);
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  if (pthread_create(&thread, &small, finish, work) == 0) pthread_detach(thread);
  else finish(work);
  pthread_attr_destroy(&small);
}
static void *wait_for_all(void *pointer) {
  struct later *work = pointer;
  while (__atomic_load_n(&work->self->open, __ATOMIC_ACQUIRE) > 0) usleep(1000);
  complete(work->self, work->call, SKEIN_OK, (skein_bytes){0, 0});
  free(work);
  return 0;
}
static void when_none_is_open(struct authenticator *self, skein_call done) {
  struct later *work = malloc(sizeof *work);
  pthread_t thread;
  *work = (struct later){self, done, 0, SKEIN_OK};
  if (pthread_create(&thread, 0, wait_for_all, work) == 0) pthread_detach(thread);
}
