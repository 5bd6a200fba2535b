/* status.c - see status.h. Nothing here allocates, so that running out of memory can be reported too. */
#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Status error_set(Error *err, Status status, const char *format, ...) {
    if (err == NULL || err->status != OK)
        return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}

void error_context(Error *err, const char *format, ...) {
    if (err == NULL || err->status == OK)
        return;
    char context[256];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);

    const size_t lead = strlen(context) + 2;
    const size_t room = sizeof err->text - 1;
    if (lead >= room)
        return;
    size_t keep = strlen(err->text);
    if (keep > room - lead)
        keep = room - lead;
    memmove(err->text + lead, err->text, keep);
    err->text[lead + keep] = '\0';
    memcpy(err->text, context, lead - 2);
    memcpy(err->text + lead - 2, ": ", 2);
}

void error_clear(Error *err) {
    if (err != NULL) {
        err->status = OK;
        err->text[0] = '\0';
    }
}

const char *status_word(Status status) {
    static const char *const words[] = {
        [OK] = "ok",
        [ERR_ARGUMENT] = "bad_argument",
        [ERR_NOT_FOUND] = "not_found",
        [ERR_IO] = "io_error",
        [ERR_FORMAT] = "bad_format",
        [ERR_UNSUPPORTED] = "unsupported",
        [ERR_MEMORY] = "out_of_memory",
        [ERR_LIMIT] = "limit_exceeded",
        [ERR_CANCELLED] = "cancelled",
        [ERR_NETWORK] = "network_error",
        [ERR_DENIED] = "denied",
        [ERR_BUSY] = "busy",
        [ERR_INTERNAL] = "internal_error",
    };
    return (size_t)status < COUNT(words) ? words[status] : "unknown";
}

#ifndef NDEBUG
void error_trace(const char *file, int line, const char *what) {
    static int wanted = -1; /* a race here only reads the environment twice */
    if (wanted < 0)
        wanted = getenv("HOULE_TRACE") != NULL;
    if (wanted)
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
}
#endif
