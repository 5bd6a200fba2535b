/* reply_head.c - see reply_head.h. Everything here comes from the network: lines may be of any length and content. */
#include "store/reply_head.h"

#include "base/compiler.h"
#include "store/curl_library.h"

#include <string.h>
#include <strings.h>
#include <time.h>

void reply_head_begin(ReplyHead *head) {
    *head = (ReplyHead){.body_bytes = HEAD_UNKNOWN,
                        .range_start = HEAD_UNKNOWN,
                        .range_end = HEAD_UNKNOWN,
                        .total_bytes = HEAD_UNKNOWN,
                        .linked_bytes = HEAD_UNKNOWN,
                        .wait_s = -1};
}

typedef struct Span {
    const char *at, *end;
} Span;

static Span trimmed(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r' || end[-1] == '\n'))
        end--;
    return (Span){at, end};
}

/* Digits at the front; HEAD_UNKNOWN when there are none or too many. The span moves behind them. */
static uint64_t take_number(Span *span) {
    uint64_t number = 0;
    const char *from = span->at;
    while (span->at < span->end && *span->at >= '0' && *span->at <= '9') {
        if (span->at - from > 17)
            return HEAD_UNKNOWN;
        number = number * 10 + (uint64_t)(*span->at++ - '0');
    }
    return span->at > from ? number : HEAD_UNKNOWN;
}

static void copy_text(Span value, char *to, size_t capacity) {
    size_t n = 0;
    for (; value.at < value.end && n + 1 < capacity; value.at++)
        if ((unsigned char)*value.at >= ' ' && *value.at != 0x7F)
            to[n++] = *value.at;
    to[n] = '\0';
}

static void copy_tag(Span value, char to[HEAD_TAG_BYTES]) {
    if (value.end - value.at > 2 && value.at[0] == 'W' && value.at[1] == '/')
        value.at += 2;
    if (value.end - value.at >= 2 && value.at[0] == '"' && value.end[-1] == '"') {
        value.at++;
        value.end--;
    }
    copy_text(value, to, HEAD_TAG_BYTES);
}

/* "bytes 0-99/1000", "bytes 0-99/" with '*' for an unknown size, "bytes " and '*' for the range when it was refused. */
static void take_range(ReplyHead *head, Span value) {
    if (value.end - value.at < 7 || strncasecmp(value.at, "bytes ", 6) != 0)
        return;
    value.at += 6;
    if (*value.at != '*') {
        const uint64_t first = take_number(&value);
        if (value.at >= value.end || *value.at++ != '-')
            return;
        const uint64_t last = take_number(&value);
        if (first == HEAD_UNKNOWN || last == HEAD_UNKNOWN || last < first)
            return;
        head->range_start = first;
        head->range_end = last + 1;
    } else {
        value.at++;
    }
    if (value.at < value.end && *value.at++ == '/')
        head->total_bytes = take_number(&value);
}

static int64_t wait_of(Span value) {
    Span digits = value;
    const uint64_t seconds = take_number(&digits);
    if (seconds != HEAD_UNKNOWN && digits.at == digits.end)
        return (int64_t)MIN(seconds, (uint64_t)1 << 31);
    char text[64];
    copy_text(value, text, sizeof text);
    if (curl_library_open(NULL) != OK)
        return -1;
    const time_t when = curl_lib.getdate(text, NULL);
    if (when < 0)
        return -1;
    const time_t now = time(NULL);
    return when > now ? (int64_t)(when - now) : 0;
}

/* RateLimit: "resolvers";r=0;t=55 - t is the time in seconds after which more is allowed; only r=0 is a refusal. */
static int64_t reset_of(Span value) {
    bool exhausted = false;
    int64_t seconds = -1;
    for (const char *p = value.at; p + 2 < value.end; p++) {
        if (*p != ';' || p[2] != '=')
            continue;
        Span number = {p + 3, value.end};
        const uint64_t n = take_number(&number);
        if (p[1] == 'r' && n == 0)
            exhausted = true;
        if (p[1] == 't' && n != HEAD_UNKNOWN)
            seconds = (int64_t)MIN(n, (uint64_t)1 << 31);
    }
    return exhausted ? seconds : -1;
}

static bool is_name(const char *line, size_t bytes, const char *name) {
    return bytes == strlen(name) && strncasecmp(line, name, bytes) == 0;
}

void reply_head_line(ReplyHead *head, const char *line, size_t count) {
    const size_t bytes = head->bytes + count;
    if (bytes > HEAD_LIMIT_BYTES)
        head->too_large = true;
    if (count > 5 && memcmp(line, "HTTP/", 5) == 0) {
        const bool too_large = head->too_large;
        reply_head_begin(head);
        head->too_large = too_large;
        const char *space = memchr(line, ' ', count);
        if (space != NULL) {
            Span number = {space + 1, line + count};
            const uint64_t status = take_number(&number);
            head->status = status <= 999 ? (int)status : 0;
        }
    }
    head->bytes = bytes;
    const char *colon = memchr(line, ':', count);
    if (colon == NULL || head->status == 0)
        return;
    const size_t n = (size_t)(colon - line);
    Span value = trimmed(colon + 1, line + count);
    if (is_name(line, n, "content-length"))
        head->body_bytes = take_number(&value);
    else if (is_name(line, n, "content-range"))
        take_range(head, value);
    else if (is_name(line, n, "content-encoding"))
        head->encoded =
            value.at < value.end && !(value.end - value.at == 8 && strncasecmp(value.at, "identity", 8) == 0);
    else if (is_name(line, n, "etag"))
        copy_tag(value, head->etag);
    else if (is_name(line, n, "x-linked-etag"))
        copy_tag(value, head->linked_etag);
    else if (is_name(line, n, "x-linked-size"))
        head->linked_bytes = take_number(&value);
    else if (is_name(line, n, "x-error-code"))
        copy_text(value, head->error_code, sizeof head->error_code);
    else if (is_name(line, n, "x-error-message"))
        copy_text(value, head->error_message, sizeof head->error_message);
    else if (is_name(line, n, "retry-after"))
        head->wait_s = wait_of(value);
    else if (is_name(line, n, "ratelimit") && head->wait_s < 0)
        head->wait_s = reset_of(value);
}
