/// The two functions of libcrypto that the authenticator needs. Nothing of our own, and nothing of libcrypto that starts
/// itself up, reads files or registers exit handlers.
#pragma once
#include <stddef.h>
#include <stdint.h>

/// SHA-256 of `length` bytes into the 32 bytes at `digest`. 1 on success.
int token_sha256(const void *bytes, size_t length, uint8_t *digest);
/// Whether two digests of 32 bytes are the same, in a time that does not depend on where they differ.
int token_digests_equal(const uint8_t *a, const uint8_t *b);
