/* fuzz_reply_head.c - the header lines of a server's answer. */
#include "store/reply_head.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ReplyHead head;
    reply_head_begin(&head);
    const char *at = (const char *)data;
    const char *const end = at + size;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const size_t bytes = line_end != NULL ? (size_t)(line_end - at) + 1 : (size_t)(end - at);
        char *line = malloc(bytes); /* of its own, so that a read beyond it is seen */
        if (line == NULL)
            return 0;
        memcpy(line, at, bytes);
        reply_head_line(&head, line, bytes);
        free(line);
        at += bytes;
    }
    if (head.range_start != HEAD_UNKNOWN && head.range_end <= head.range_start)
        abort();
    return 0;
}
