/* reply_head.h - the lines in front of an HTTP answer's body, as far as downloads care. */
#ifndef HOULE_STORE_REPLY_HEAD_H
#define HOULE_STORE_REPLY_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_UNKNOWN UINT64_MAX

enum { HEAD_TAG_BYTES = 130, HEAD_WORD_BYTES = 66, HEAD_MESSAGE_BYTES = 200, HEAD_LIMIT_BYTES = 1 << 18 };

typedef struct ReplyHead {
    int status;           /* 0 = nothing has come yet */
    uint64_t body_bytes;  /* Content-Length, or HEAD_UNKNOWN */
    uint64_t range_start; /* Content-Range: first byte, byte after the last, size of the whole, or HEAD_UNKNOWN */
    uint64_t range_end;
    uint64_t total_bytes;
    uint64_t linked_bytes;            /* X-Linked-Size: of the file that a hub's redirect leads to */
    char etag[HEAD_TAG_BYTES];        /* without quotes and W/ */
    char linked_etag[HEAD_TAG_BYTES]; /* X-Linked-Etag: the SHA-256 of a large file */
    char error_code[HEAD_WORD_BYTES]; /* X-Error-Code: "GatedRepo", ... */
    char error_message[HEAD_MESSAGE_BYTES];
    int64_t wait_s; /* Retry-After, or the reset time of RateLimit; -1 = not said */
    bool encoded;   /* Content-Encoding other than identity */
    bool too_large;
    size_t bytes; /* of all lines, for the limit */
} ReplyHead;

void reply_head_begin(ReplyHead *head);
/* Takes one line with or without its CR LF. A status line begins the head anew (after "100 Continue"). */
void reply_head_line(ReplyHead *head, const char *line, size_t count);

#endif
