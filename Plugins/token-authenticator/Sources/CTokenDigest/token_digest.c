/* The low-level functions: EVP_* would set libcrypto up in this process, configuration file and exit handler included,
 * which a plug-in must not do. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "token_digest.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

int token_sha256(const void *bytes, size_t length, uint8_t *digest) {
  SHA256_CTX context;
  int done = SHA256_Init(&context) == 1 && SHA256_Update(&context, bytes, length) == 1 &&
             SHA256_Final(digest, &context) == 1;
  OPENSSL_cleanse(&context, sizeof context);
  return done;
}

int token_digests_equal(const uint8_t *a, const uint8_t *b) { return CRYPTO_memcmp(a, b, 32) == 0; }
