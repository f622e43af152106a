/// C edge of the transport: the BIO between libssl and SwiftNIO, and wrappers of what Swift cannot
/// import (macros, variadic calls, typed stacks). Nothing here keeps global state that changes.
#pragma once
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

/// What a BIO reads from and writes to. The Swift side owns it and outlives the BIO.
typedef struct {
  /// Ciphertext not yet consumed; borrowed for the length of one call into libssl.
  const uint8_t *in;
  size_t in_length;
  /// A borrowed region that takes ciphertext first; may be NULL with capacity 0.
  uint8_t *out;
  size_t out_length, out_capacity;
  /// Owned (malloc); takes what does not fit into `out`, in order.
  uint8_t *overflow;
  size_t overflow_length, overflow_capacity;
} skein_tls_io;

/// A BIO over `io`; NULL when memory is out.
BIO *skein_bio_new(skein_tls_io *io);
/// The same without TLS, for ends that are joined in memory: the bytes taken, or 1 on success.
size_t skein_io_take(skein_tls_io *io, void *into, size_t count);
int skein_io_put(skein_tls_io *io, const void *from, size_t count);
/// Frees `overflow`.
void skein_tls_io_release(skein_tls_io *io);

/// SSL_read / SSL_write / SSL_do_handshake with the error queue cleared first and SSL_get_error
/// read in the same call. `*error` is set only when the result is <= 0.
int skein_ssl_read(SSL *ssl, void *into, int count, int *error);
int skein_ssl_write(SSL *ssl, const void *from, int count, int *error);
int skein_ssl_handshake(SSL *ssl, int *error);

/// The settings that both sides share: TLS 1.2 at least, no tickets, no cache, no renegotiation,
/// no compression, buffers released when idle. 1 on success.
int skein_ctx_harden(SSL_CTX *ctx);
/// SNI (a macro in OpenSSL). 1 on success.
int skein_ssl_set_server_name(SSL *ssl, const char *name);

/// Calls `each` for every SAN of type URI. Names with an embedded NUL are skipped.
void skein_x509_each_uri(X509 *certificate, void *context,
                         void (*each)(void *context, const char *bytes, size_t length));
/// The last common name of the subject as UTF-8 into `into` (NUL-terminated); its length, or -1
/// when there is none, it does not fit, or it holds a NUL.
int skein_x509_common_name(X509 *certificate, char *into, int capacity);
/// notAfter in seconds since 1970, or -1.
int64_t skein_x509_not_after(X509 *certificate);
/// A stack of certificates, which owns them (typed stacks are macros). `push` is 1 on success.
STACK_OF(X509) *skein_x509_stack_new(void);
int skein_x509_stack_push(STACK_OF(X509) *stack, X509 *certificate);
void skein_x509_stack_free(STACK_OF(X509) *stack);
/// 1 when the error only says that a PEM text holds no more objects.
int skein_error_is_end_of_pem(unsigned long error);
/// The reason code of the oldest error in this thread's queue; its text and library into `into`.
/// 0 when the queue is empty. Clears the queue.
int skein_error_take(char *into, size_t capacity);
/// Calls `each` for every certificate that the peer of a server has shown, its own first, in DER.
void skein_ssl_each_certificate(SSL *ssl, void *context,
                                void (*each)(void *context, const uint8_t *bytes, size_t length));
/// The tls-exporter channel binding (RFC 9266) into `into`. 1 on success.
int skein_ssl_exporter(SSL *ssl, uint8_t *into, size_t length);
