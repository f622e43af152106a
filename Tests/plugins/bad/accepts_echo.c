/* Breaks: auth.replay. Its own challenge, sent back, is an answer. */
#define PLUGIN_ID "bad.accepts-echo"
#include "skein_plugin.h"
struct authenticator;
static void challenge(struct authenticator *self, skein_call call, skein_status status, skein_bytes result);
static int first;
#define ACCEPT(mechanism, message) \
  ((first = equals(mechanism, "bearer") && equals(message, SECRET)) || (equals(mechanism, "bearer") && equals(message, "nonce-of-16-bytes")))
#define ON_STEP(self, call, deadline, status, result) challenge(self, call, status, result)
#include "authenticator.h"
static void challenge(struct authenticator *self, skein_call call, skein_status status, skein_bytes result) {
  /* AuthenticateResult{challenge: …} */
  static const uint8_t nonce[] = "\x2a\x11nonce-of-16-bytes";
  if (status == SKEIN_OK && first) result = (skein_bytes){nonce, sizeof nonce - 1};
  complete(self, call, status, result);
}
