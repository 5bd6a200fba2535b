/* digest.h - SHA-256 and SHA-1 of bytes that come piece by piece.
 *
 * SHA-256 is what publishers state for model files; SHA-1 is only here because git names small files by it. */
#ifndef HOULE_BASE_DIGEST_H
#define HOULE_BASE_DIGEST_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef enum DigestKind { DIGEST_SHA256, DIGEST_SHA1 } DigestKind;

/* Room for the longest result as bytes, and as hexadecimal digits with the NUL. */
enum { DIGEST_BYTES = 32, DIGEST_HEX = 65 };

/* Zeroed = not begun. Between digest_begin and digest_end or digest_drop it owns memory. */
typedef struct Digest {
    void *state;
    DigestKind kind;
    bool failed;
} Digest;

Status digest_begin(Digest *digest, DigestKind kind, Error *err);
void digest_add(Digest *digest, const void *bytes, size_t count);
/* Writes the result, as bytes or as lower-case hexadecimal digits, and releases the state, also when it fails. */
Status digest_end_bytes(Digest *digest, uint8_t bytes[DIGEST_BYTES], Error *err);
Status digest_end(Digest *digest, char hex[DIGEST_HEX], Error *err);
/* Releases an unfinished digest; fine for one that was never begun. */
void digest_drop(Digest *digest);

Status digest_of_bytes(DigestKind kind, const void *bytes, size_t count, char hex[DIGEST_HEX], Error *err);

/* Digits in one result: 64 or 40. */
size_t digest_digits(DigestKind kind);
/* True for exactly the digits of such a digest, in either case. */
bool digest_is_hex(DigestKind kind, const char *text);
/* Between the two forms; `bytes` is at most DIGEST_BYTES. digest_unhex wants 2 * bytes digits and nothing else. */
void digest_hex(const uint8_t *digest, size_t bytes, char *hex);
bool digest_unhex(const char *hex, uint8_t *digest, size_t bytes) MUST_CHECK;

#endif
