/* The shim that Debian's hiredis lacks: a non-blocking socket with OpenSSL on it, and the server's certificate verified. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "redis.h"

struct rd_link {
  char host[256];
  store_addresses addresses;
  size_t next; /* address to try */
  int port;
  int descriptor;
  bool is_connected;
  bool uses_tls;
  rd_tls files;
  SSL_CTX *context; /* once it is connected: to read all authorities takes milliseconds, which a server that is down is not worth */
  SSL *tls;
  bool is_shaken;
  bool wants_write; /* TLS wants to write, whatever we do */
};

static void say(char *why, const char *what, const char *more) { snprintf(why, RD_MOST_WHY, "%.200s: %.200s", what, more); }

static void say_tls(char *why, const char *what) {
  const unsigned long code = ERR_peek_last_error();
  const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
  say(why, what, reason != NULL ? reason : errno != 0 ? strerror(errno) : "the connection ended");
  ERR_clear_error();
}

static SSL_CTX *make_context(const rd_tls *tls, char *why) {
  ERR_clear_error();
  errno = 0;
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  if (context == NULL) {
    say_tls(why, "TLS");
    return NULL;
  }
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  const char *problem = NULL;
  if (SSL_CTX_load_verify_file(context, tls->ca_file) != 1) problem = tls->ca_file;
  else if (tls->certificate_file != NULL && SSL_CTX_use_certificate_chain_file(context, tls->certificate_file) != 1) problem = tls->certificate_file;
  else if (tls->key_file != NULL && SSL_CTX_use_PrivateKey_file(context, tls->key_file, SSL_FILETYPE_PEM) != 1) problem = tls->key_file;
  if (problem == NULL) return context;
  say_tls(why, problem);
  SSL_CTX_free(context);
  return NULL;
}

static bool begin_tls(rd_link *link, char *why) {
  unsigned char address[16];
  link->context = make_context(&link->files, why);
  if (link->context == NULL) return false;
  const bool is_address = inet_pton(AF_INET, link->host, address) == 1 || inet_pton(AF_INET6, link->host, address) == 1;
  link->tls = SSL_new(link->context);
  bool ok = link->tls != NULL && SSL_set_fd(link->tls, link->descriptor) == 1;
  if (ok && is_address) {
    ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(link->tls), link->host) == 1;
  } else if (ok) {
    SSL_set_hostflags(link->tls, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    ok = SSL_set1_host(link->tls, link->host) == 1 && SSL_set_tlsext_host_name(link->tls, link->host) == 1;
  }
  if (!ok) say_tls(why, "TLS");
  return ok;
}

/* Begins with the next address; false: there is none, and `why` is of the last one. */
static bool try_next(rd_link *link, char *why) {
  while (link->next < link->addresses.count) {
    const char *text = link->addresses.text[link->next++];
    struct sockaddr_in six_or_four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)link->port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)link->port)};
    const bool is_four = inet_pton(AF_INET, text, &six_or_four.sin_addr) == 1;
    if (!is_four && inet_pton(AF_INET6, text, &six.sin6_addr) != 1) {
      say(why, text, "only whole IPv4 and IPv6 addresses are tried");
      continue;
    }
    if (link->descriptor >= 0) close(link->descriptor);
    link->descriptor = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->descriptor < 0) {
      say(why, "socket", strerror(errno));
      continue;
    }
    const int on = 1, idle = 10, interval = 5, count = 3, unacknowledged = 5000;
    setsockopt(link->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(link->descriptor, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(link->descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(link->descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(link->descriptor, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(link->descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof unacknowledged);
    const int code = is_four ? connect(link->descriptor, (const struct sockaddr *)&six_or_four, sizeof six_or_four)
                             : connect(link->descriptor, (const struct sockaddr *)&six, sizeof six);
    if (code == 0 || errno == EINPROGRESS) return true;
    say(why, text, strerror(errno));
  }
  return false;
}

rd_link *rd_link_open(const char *host, const store_addresses *addresses, int port, const rd_tls *tls, char *why) {
  rd_link *link = calloc(1, sizeof *link);
  if (link == NULL) {
    say(why, "there is no memory", host);
    return NULL;
  }
  snprintf(link->host, sizeof link->host, "%s", host);
  link->addresses = *addresses;
  link->port = port;
  link->descriptor = -1;
  link->uses_tls = tls != NULL;
  if (tls != NULL) link->files = *tls;
  if (try_next(link, why)) return link;
  rd_link_close(link);
  return NULL;
}

rd_progress rd_link_connect(rd_link *link, char *why) {
  if (!link->is_connected) {
    struct pollfd polled = {.fd = link->descriptor, .events = POLLOUT};
    if (poll(&polled, 1, 0) <= 0) return RD_BUSY;
    int code = 0;
    socklen_t size = sizeof code;
    if (getsockopt(link->descriptor, SOL_SOCKET, SO_ERROR, &code, &size) != 0) code = errno;
    if (code != 0) {
      say(why, link->addresses.text[link->next - 1], strerror(code));
      return try_next(link, why) ? RD_BUSY : RD_FAILED;
    }
    link->is_connected = true;
    if (link->uses_tls && !begin_tls(link, why)) return RD_FAILED;
  }
  if (!link->uses_tls || link->is_shaken) return RD_DONE;
  ERR_clear_error();
  errno = 0;
  const int code = SSL_connect(link->tls);
  if (code == 1) {
    link->is_shaken = true;
    link->wants_write = false;
    return RD_DONE;
  }
  const int error = SSL_get_error(link->tls, code);
  link->wants_write = error == SSL_ERROR_WANT_WRITE;
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return RD_BUSY;
  const long verdict = SSL_get_verify_result(link->tls);
  if (verdict != X509_V_OK) say(why, "its certificate is refused", X509_verify_cert_error_string(verdict));
  else say_tls(why, "TLS");
  return RD_FAILED;
}

static long plain(const rd_link *link, long count, const char *what, char *why) {
  (void)link;
  if (count > 0) return count;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
  say(why, what, count == 0 ? "the server closed the connection" : strerror(errno));
  return -1;
}

static long encrypted(rd_link *link, int count, char *why) {
  if (count > 0) return count;
  const int error = SSL_get_error(link->tls, count);
  if (error == SSL_ERROR_WANT_WRITE) link->wants_write = true;
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return 0;
  if (error == SSL_ERROR_ZERO_RETURN) say(why, "TLS", "the server closed the connection");
  else say_tls(why, "TLS");
  return -1;
}

static int bounded(size_t size) { return size > 1 << 20 ? 1 << 20 : (int)size; }

long rd_link_read(rd_link *link, char *bytes, size_t size, char *why) {
  if (!link->uses_tls) return plain(link, recv(link->descriptor, bytes, size, 0), "read", why);
  ERR_clear_error();
  errno = 0;
  link->wants_write = false;
  return encrypted(link, SSL_read(link->tls, bytes, bounded(size)), why);
}

long rd_link_write(rd_link *link, const char *bytes, size_t size, char *why) {
  if (size == 0) return 0;
  if (!link->uses_tls) return plain(link, send(link->descriptor, bytes, size, MSG_NOSIGNAL), "write", why);
  ERR_clear_error();
  errno = 0;
  return encrypted(link, SSL_write(link->tls, bytes, bounded(size)), why);
}

int rd_link_descriptor(const rd_link *link) { return link->descriptor; }

short rd_link_events(const rd_link *link, bool wants_out) {
  if (!link->is_connected) return POLLOUT;
  return (short)(POLLIN | (wants_out || link->wants_write ? POLLOUT : 0));
}

void rd_link_close(rd_link *link) {
  if (link == NULL) return;
  SSL_free(link->tls);
  SSL_CTX_free(link->context);
  if (link->descriptor >= 0) close(link->descriptor);
  free(link);
}
