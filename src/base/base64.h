/* base64.h - bytes as letters (RFC 4648, with padding). */
#ifndef HOULE_BASE_BASE64_H
#define HOULE_BASE_BASE64_H

#include "base/text.h"

/* Appends the letters of the bytes; false without memory (text.h). */
bool base64_append(Text *out, const void *bytes, size_t count);
/* Appends the bytes of the letters; false when they are none, or without memory (out->failed). */
bool base64_append_decoded(Text *out, const char *letters, size_t count) MUST_CHECK;

#endif
