/* digest.c - see digest.h. GnuTLS does the work, with the processor's SHA instructions where there are any. */
#include "base/digest.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

static gnutls_digest_algorithm_t algorithm_of(DigestKind kind) {
    return kind == DIGEST_SHA256 ? GNUTLS_DIG_SHA256 : GNUTLS_DIG_SHA1;
}

Status digest_begin(Digest *digest, DigestKind kind, Error *err) {
    *digest = (Digest){.kind = kind};
    gnutls_hash_hd_t state;
    const int result = gnutls_hash_init(&state, algorithm_of(kind));
    FAIL_IF(result == GNUTLS_E_MEMORY_ERROR, ERR_MEMORY, "no memory for a checksum");
    FAIL_IF(result < 0, ERR_INTERNAL, "the checksum cannot be computed: %s", gnutls_strerror(result));
    digest->state = state;
    return OK;
}

void digest_add(Digest *digest, const void *bytes, size_t count) {
    if (digest->state != NULL && gnutls_hash(digest->state, bytes, count) < 0)
        digest->failed = true;
}

Status digest_end_bytes(Digest *digest, uint8_t bytes[DIGEST_BYTES], Error *err) {
    memset(bytes, 0, DIGEST_BYTES);
    FAIL_IF(digest->state == NULL, ERR_INTERNAL, "a checksum ends that has not begun");
    gnutls_hash_deinit(digest->state, bytes);
    const bool failed = digest->failed;
    *digest = (Digest){0};
    FAIL_IF(failed, ERR_INTERNAL, "the checksum could not be computed");
    return OK;
}

Status digest_end(Digest *digest, char hex[DIGEST_HEX], Error *err) {
    uint8_t bytes[DIGEST_BYTES];
    const DigestKind kind = digest->kind;
    hex[0] = '\0';
    TRY(digest_end_bytes(digest, bytes, err));
    digest_hex(bytes, digest_digits(kind) / 2, hex);
    return OK;
}

void digest_drop(Digest *digest) {
    if (digest->state != NULL)
        gnutls_hash_deinit(digest->state, NULL);
    *digest = (Digest){0};
}

Status digest_of_bytes(DigestKind kind, const void *bytes, size_t count, char hex[DIGEST_HEX], Error *err) {
    Digest digest;
    TRY(digest_begin(&digest, kind, err));
    digest_add(&digest, bytes, count);
    return digest_end(&digest, hex, err);
}

size_t digest_digits(DigestKind kind) {
    return kind == DIGEST_SHA256 ? 64 : 40;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool digest_is_hex(DigestKind kind, const char *text) {
    uint8_t bytes[DIGEST_BYTES];
    return digest_unhex(text, bytes, digest_digits(kind) / 2);
}

void digest_hex(const uint8_t *digest, size_t bytes, char *hex) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * bytes] = '\0';
}

bool digest_unhex(const char *hex, uint8_t *digest, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        const int high = digit_of(hex[2 * i]);
        const int low = high >= 0 ? digit_of(hex[2 * i + 1]) : -1;
        if (low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    return hex[2 * bytes] == '\0';
}
