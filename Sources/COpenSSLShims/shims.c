#include "skein_openssl.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

size_t skein_io_take(skein_tls_io *io, void *into, size_t count) {
  size_t n = count < io->in_length ? count : io->in_length;
  if (n == 0) return 0;
  memcpy(into, io->in, n);
  io->in += n;
  io->in_length -= n;
  return n;
}

static int bio_read(BIO *bio, char *into, int count) {
  skein_tls_io *io = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  if (count <= 0) return 0;
  if (io->in_length == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  return (int)skein_io_take(io, into, (size_t)count);
}

static int overflow_append(skein_tls_io *io, const void *from, size_t n) {
  if (n > io->overflow_capacity - io->overflow_length) {
    size_t capacity = io->overflow_capacity ? io->overflow_capacity : 4096;
    while (capacity - io->overflow_length < n) capacity *= 2;
    uint8_t *grown = realloc(io->overflow, capacity);
    if (grown == NULL) return 0;
    io->overflow = grown;
    io->overflow_capacity = capacity;
  }
  memcpy(io->overflow + io->overflow_length, from, n);
  io->overflow_length += n;
  return 1;
}

int skein_io_put(skein_tls_io *io, const void *from, size_t n) {
  // Once something has overflowed, everything after it must follow there to keep the order.
  if (io->overflow_length == 0 && n <= io->out_capacity - io->out_length) {
    if (n > 0) memcpy(io->out + io->out_length, from, n);
    io->out_length += n;
    return 1;
  }
  return overflow_append(io, from, n);
}

static int bio_write(BIO *bio, const char *from, int count) {
  skein_tls_io *io = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  if (count <= 0) return 0;
  size_t n = (size_t)count;
  return skein_io_put(io, from, n) ? count : -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer) {
  (void)bio; (void)number; (void)pointer;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static void make_method(void) {
  BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "skein");
  if (m == NULL) return;
  BIO_meth_set_read(m, bio_read);
  BIO_meth_set_write(m, bio_write);
  BIO_meth_set_ctrl(m, bio_ctrl);
  method = m;
}

BIO *skein_bio_new(skein_tls_io *io) {
  pthread_once(&method_once, make_method);
  if (method == NULL) return NULL;
  BIO *bio = BIO_new(method);
  if (bio == NULL) return NULL;
  BIO_set_data(bio, io);
  BIO_set_init(bio, 1);
  return bio;
}

void skein_tls_io_release(skein_tls_io *io) {
  free(io->overflow);
  io->overflow = NULL;
  io->overflow_length = io->overflow_capacity = 0;
}

int skein_ssl_read(SSL *ssl, void *into, int count, int *error) {
  ERR_clear_error();
  int n = SSL_read(ssl, into, count);
  if (n <= 0) *error = SSL_get_error(ssl, n);
  return n;
}

int skein_ssl_write(SSL *ssl, const void *from, int count, int *error) {
  ERR_clear_error();
  int n = SSL_write(ssl, from, count);
  if (n <= 0) *error = SSL_get_error(ssl, n);
  return n;
}

int skein_ssl_handshake(SSL *ssl, int *error) {
  ERR_clear_error();
  int n = SSL_do_handshake(ssl);
  if (n <= 0) *error = SSL_get_error(ssl, n);
  return n;
}

int skein_ctx_harden(SSL_CTX *ctx) {
  SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  if (SSL_CTX_set_num_tickets(ctx, 0) != 1) return 0;
  if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) return 0;
  if (SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") != 1) return 0;
  // AES-128-GCM first: the strongest requirement met at the lowest cost per byte.
  if (SSL_CTX_set_ciphersuites(
          ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1)
    return 0;
  return SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1;
}

int skein_ssl_set_server_name(SSL *ssl, const char *name) {
  return (int)SSL_set_tlsext_host_name(ssl, name);
}

void skein_x509_each_uri(X509 *certificate, void *context,
                         void (*each)(void *context, const char *bytes, size_t length)) {
  GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  if (names == NULL) return;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const char *bytes = (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
    int length = ASN1_STRING_length(name->d.uniformResourceIdentifier);
    if (bytes == NULL || length <= 0 || memchr(bytes, 0, (size_t)length) != NULL) continue;
    each(context, bytes, (size_t)length);
  }
  GENERAL_NAMES_free(names);
}

int skein_x509_common_name(X509 *certificate, char *into, int capacity) {
  X509_NAME *subject = X509_get_subject_name(certificate);
  if (subject == NULL) return -1;
  int index = -1, last = -1;
  while ((index = X509_NAME_get_index_by_NID(subject, NID_commonName, index)) >= 0) last = index;
  if (last < 0) return -1;
  unsigned char *utf8 = NULL;
  int length =
      ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
  if (length < 0) return -1;
  int fits = length < capacity && memchr(utf8, 0, (size_t)length) == NULL;
  if (fits) {
    memcpy(into, utf8, (size_t)length);
    into[length] = 0;
  }
  OPENSSL_free(utf8);
  return fits ? length : -1;
}

int64_t skein_x509_not_after(X509 *certificate) {
  struct tm parts;
  const ASN1_TIME *time = X509_get0_notAfter(certificate);
  if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) return -1;
  return (int64_t)timegm(&parts);
}

STACK_OF(X509) *skein_x509_stack_new(void) { return sk_X509_new_null(); }

int skein_x509_stack_push(STACK_OF(X509) *stack, X509 *certificate) {
  return stack != NULL && sk_X509_push(stack, certificate) > 0;
}

void skein_x509_stack_free(STACK_OF(X509) *stack) { sk_X509_pop_free(stack, X509_free); }

int skein_error_is_end_of_pem(unsigned long error) {
  return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

int skein_error_take(char *into, size_t capacity) {
  unsigned long code = ERR_get_error();
  if (capacity > 0) into[0] = 0;
  if (code == 0) return 0;
  const char *text = ERR_reason_error_string(code);
  if (capacity > 0 && text != NULL) {
    strncpy(into, text, capacity - 1);
    into[capacity - 1] = 0;
  }
  ERR_clear_error();
  return ERR_GET_REASON(code);
}

static void each_der(X509 *certificate, void *context,
                     void (*each)(void *context, const uint8_t *bytes, size_t length)) {
  uint8_t *der = NULL;
  int length = i2d_X509(certificate, &der);
  if (length > 0) each(context, der, (size_t)length);
  OPENSSL_free(der);
}

void skein_ssl_each_certificate(SSL *ssl, void *context,
                                void (*each)(void *context, const uint8_t *bytes, size_t length)) {
  X509 *own = SSL_get1_peer_certificate(ssl);
  if (own == NULL) return;
  each_der(own, context, each);
  X509_free(own);
  /* On a server the chain is without the peer's own. */
  STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; i < sk_X509_num(chain); i++) each_der(sk_X509_value(chain, i), context, each);
}

int skein_ssl_exporter(SSL *ssl, uint8_t *into, size_t length) {
  static const char label[] = "EXPORTER-Channel-Binding";
  ERR_clear_error();
  int done = SSL_export_keying_material(ssl, into, length, label, sizeof label - 1, NULL, 0, 0);
  ERR_clear_error();
  return done == 1;
}
