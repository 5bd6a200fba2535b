/* status.h - how a failure travels.
 *
 * A function that can fail returns a Status and takes an Error as its last parameter; results leave by pointer.
 * The first failure writes its message (what, where, why, what to do) into the Error; callers may put context in
 * front of it, none replaces it. Error may be NULL where the caller wants the status only.
 *
 *     Status gguf_open(const char *path, Gguf **out, Error *err)
 *     {
 *         FAIL_IF(bytes < 24, ERR_FORMAT, "%s: %zu bytes are too few for a GGUF header", path, bytes);
 *         TRY(read_header(...));
 *         ...
 *     }
 */
#ifndef HOULE_BASE_STATUS_H
#define HOULE_BASE_STATUS_H

#include "base/compiler.h"

#include <stdarg.h>
#include <stdbool.h>

typedef enum Status {
    OK = 0,
    ERR_ARGUMENT,    /* the caller's value is out of range or contradicts another */
    ERR_NOT_FOUND,   /* no such file, model, tensor, key */
    ERR_IO,          /* the operating system refused: read, write, map, connect */
    ERR_FORMAT,      /* a file or text is not what it claims to be */
    ERR_UNSUPPORTED, /* valid, but this engine lacks what it needs */
    ERR_MEMORY,      /* no memory, or more than the budget */
    ERR_LIMIT,       /* a stated limit is exceeded: context, depth, steps, size */
    ERR_CANCELLED,   /* asked to stop */
    ERR_NETWORK,     /* the other side did not answer, or answered wrongly */
    ERR_DENIED,      /* not allowed: credentials, permissions, policy */
    ERR_BUSY,        /* try again later */
    ERR_INTERNAL,    /* our own mistake, found by a check */
} Status;

enum { ERROR_TEXT_BYTES = 768 };

typedef struct Error {
    Status status; /* OK as long as nothing failed */
    char text[ERROR_TEXT_BYTES];
} Error;

/* Records a failure and returns its status. A failure that is already recorded stays: the first one is the cause. */
Status error_set(Error *err, Status status, const char *format, ...) PRINTF_LIKE(3, 4);

/* Puts "context: " in front of the recorded message; does nothing when nothing failed. */
void error_context(Error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* Forgets the failure, so that the Error can be used again. */
void error_clear(Error *err);

/* A lower-case word for the status, for machines ("not_found"). */
const char *status_word(Status status);

/* Both macros expect an `Error *err` in scope; in a debug build with HOULE_TRACE set, each hop is logged. */
#define FAIL_IF(condition, status, ...)                                                                                \
    do {                                                                                                               \
        if (UNLIKELY(condition)) {                                                                                     \
            error_trace(__FILE__, __LINE__, #condition);                                                               \
            return error_set(err, (status), __VA_ARGS__);                                                              \
        }                                                                                                              \
    } while (0)

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        const Status try_status = (call);                                                                              \
        if (UNLIKELY(try_status != OK)) {                                                                              \
            error_trace(__FILE__, __LINE__, #call);                                                                    \
            return try_status;                                                                                         \
        }                                                                                                              \
    } while (0)

#ifdef NDEBUG
#define error_trace(file, line, what) ((void)0)
#else
void error_trace(const char *file, int line, const char *what);
#endif

#endif
