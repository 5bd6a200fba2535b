/* fuzz_reply.c - any bytes as a model's output, in any format: the first byte chooses the format, the second how the
 * rest is cut. Cut or whole, the message must be the same. */
#include "text/reply.h"

#include "base/mem.h"
#include "format/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char tool_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\", \"properties\": "
    "{\"s\": {\"type\": \"string\"}, \"n\": {\"type\": [\"integer\", \"null\"]}, \"u\": {\"anyOf\": [{\"type\": "
    "\"string\"}, "
    "{\"type\": \"object\"}]}}}}}]";

static Reply *read_in_pieces(const char *format, const json_t *tools, bool inside, const char *text, size_t bytes,
                             size_t piece) {
    Reply *reply;
    if (reply_open(format, tools, inside, &reply, NULL) != OK)
        abort();
    for (size_t at = 0; at < bytes; at += piece)
        if (reply_feed(reply, text + at, MIN(piece, bytes - at), NULL) != OK)
            abort();
    if (reply_finish(reply, NULL) != OK)
        abort();
    return reply;
}

static bool same(const Text *a, const Text *b) {
    return a->count == b->count && (a->count == 0 || memcmp(a->bytes, b->bytes, a->count) == 0);
}

static bool same_message(const Reply *a, const Reply *b) {
    if (!same(reply_content(a), reply_content(b)) || !same(reply_reasoning(a), reply_reasoning(b)) ||
        reply_call_count(a) != reply_call_count(b))
        return false;
    for (size_t i = 0; i < reply_call_count(a); i++) {
        const ReplyCall *x = reply_call(a, i), *y = reply_call(b, i);
        if (strcmp(x->name, y->name) != 0 || !same(&x->arguments, &y->arguments) || x->complete != y->complete ||
            !x->ended)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    size_t formats = 0;
    while (reply_format_name(formats) != NULL)
        formats++;
    const size_t before = mem_bytes_total();
    const char *format = reply_format_name(data[0] % formats), *text = (const char *)data + 2;
    const bool inside = (data[1] & 1) != 0;
    /* The tokenizer gives valid UTF-8; what it cannot decode is not passed on. */
    if (!utf8_valid(text, size - 2))
        return 0;
    json_t *tools;
    if (json_parse(tool_text, strlen(tool_text), "tools", false, &tools, NULL) != OK)
        abort();
    Reply *whole = read_in_pieces(format, tools, inside, text, size - 2, MAX(size - 2, (size_t)1));
    Reply *cut = read_in_pieces(format, tools, inside, text, size - 2, (size_t)(data[1] >> 1) % 16 + 1);
    if (!same_message(whole, cut))
        abort();
    reply_close(whole);
    reply_close(cut);
    json_decref(tools);
    if (mem_bytes_total() != before)
        abort();
    return 0;
}
